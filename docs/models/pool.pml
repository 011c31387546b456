/*
 * The life of pooled sandboxes: filled, claimed, released, drained, deleted, while everybody may die. README.md says what is checked, and how.
 *
 * One daemon, one warden, a store, creto-init in each sandbox, clients and an operator. Each step below is one turn of somebody's loop; the
 * processes of the daemon share its memory, as the callbacks of one loop do. What is in memory dies with its owner, and so does what is on
 * its way, but for what creto-init has been sent: that it may still read.
 *
 * A sandbox is a number, used again only when nothing is left of the one before. Claim ids are counted for each sandbox.
 *
 * Words in capitals behind #ifdef are deliberate mistakes, one or two at a time: spin has to find each.
 */
#ifndef SANDBOXES
#define SANDBOXES 2
#endif
#ifndef CLIENTS
#define CLIENTS 2
#endif
#ifndef TARGET
#define TARGET 1 /* ready ones that the pool keeps */
#endif
#ifndef TRIES
#define TRIES 2 /* requests of the client that repeats */
#endif
#ifndef DAEMON_DEATHS
#define DAEMON_DEATHS 0
#endif
#ifndef WARDEN_DEATHS
#define WARDEN_DEATHS 0
#endif
#ifndef INIT_DEATHS
#define INIT_DEATHS 0
#endif
#ifndef DROPS
#define DROPS 0 /* connections between daemon and creto-init that break */
#endif
#ifndef OPERATIONS
#define OPERATIONS 0 /* of the operator */
#endif
#ifndef CLIENT_DEATHS
#define CLIENT_DEATHS 0 /* while they wait for an answer */
#endif
#ifndef REUSABLE
#define REUSABLE 0
#endif

#define each(i) i : 0..(SANDBOXES - 1)

/* ---- what is where ---- */

/* The store. */
#define R_NONE 0
#define R_CREATING 1
#define R_READY 2
#define R_RUNNING 3
#define R_TERMINATING 4
byte rec[SANDBOXES], rec_claim[SANDBOXES], rec_key[SANDBOXES];

#define P_ACTIVE 0
#define P_DRAINING 1
#define P_GONE 2
byte rec_pool = P_ACTIVE;
bit rec_ended; /* what the first client's key had has ended; such records are kept for a day */

/* The host: what is there, and what its creto-init is bound to; 0: nothing. */
#define B_NONE 0
#define B_BUILDING 1
#define B_LIVE 2
#define B_DEAD 3
byte box[SANDBOXES], bound[SANDBOXES];
bit made[SANDBOXES]; /* it is what the claim wants it to be: its limits, its files */

/* On its way: to the warden and back, to creto-init and back. */
#define W_NONE 0
#define W_SPAWN 1
#define W_END 2
byte to_warden[SANDBOXES], from_warden[SANDBOXES];
bit exited[SANDBOXES];
bit to_hello[SANDBOXES];
byte to_bind[SANDBOXES], from_hello[SANDBOXES] /* bound, and 1 */, from_bound[SANDBOXES];

/* The daemon's memory. */
#define M_NONE 0
#define M_WARMING 1
#define M_ADOPTED 2 /* an earlier daemon made it, and its creto-init has not answered this one */
#define M_READY 3
#define M_CLAIMING 4
#define M_CLAIMED 5
#define M_LEAVING 6
#define M_GONE 7 /* only its record is left */
byte mem[SANDBOXES], claim[SANDBOXES], key[SANDBOXES], ids[SANDBOXES], claimer[SANDBOXES];
byte dirty[SANDBOXES];   /* its record is to be written, as the first, second, … of all */
bit asked[SANDBOXES];    /* the warden is asked to make it, or to end it */
bit sent[SANDBOXES];     /* BIND, over this connection */
bit unknown[SANDBOXES];  /* its claim failed: nobody has its id */
byte session[SANDBOXES]; /* 0: none; 1: HELLO is sent; 2: and answered */
#ifdef COMMANDS          /* each claim has a command, which goes with its first BIND */
bit begun[SANDBOXES];    /* it was sent */
bit along[SANDBOXES];    /* it is behind what is in to_bind */
#endif
byte waiting[CLIENTS];   /* claims that wait for a sandbox, */
byte head;               /* and whose is the first of them */
byte pool = P_ACTIVE;
bit extra; /* one more is to be made: a reusable one was released */
bit pool_dirty, settled = 1;
bit daemon_up = 1, warden_up = 1, listed = 1;

/* Clients, and the operator. */
#define C_IDLE 0
#define C_ASKING 1
#define C_WAITING 2
#define C_GOT 3
#define C_OVER 4
byte client[CLIENTS], got[CLIENTS], tries[CLIENTS];
byte told_pool = P_ACTIVE; /* what the operator knows of the pool */

byte daemon_deaths, warden_deaths, init_deaths, client_deaths, drops, operations;

/* Only to judge by. */
byte owner[SANDBOXES];    /* the client that was told that it is his, and 1 */
#ifdef COMMANDS
byte whose[SANDBOXES]; /* is the command that was sent to it */
bit ran[CLIENTS];      /* his was run */
#endif
bit promised[SANDBOXES];  /* somebody was told, or could have been */
bit key_promised, key_ended, ended_promised; /* so was the first client's key; it was told that its sandbox has ended; which was promised */
bit may_end[SANDBOXES];   /* its owner or the operator wants that, or it died */

hidden byte i_, j_, n_, m_, same_;

/* The first client repeats what was not answered, with the same idempotency key; the others do not, and nobody does with a command. */
#if defined(ENDLESS) || defined(COMMANDS)
#define keyed(c) false
#else
#define keyed(c) (c == 0)
#endif

#define lives(s) (mem[s] != M_NONE && mem[s] != M_LEAVING && mem[s] != M_GONE)
#define owned(s) (mem[s] == M_CLAIMING || mem[s] == M_CLAIMED)
#define unused(s) (mem[s] == M_NONE && rec[s] == R_NONE && box[s] == B_NONE && to_warden[s] == W_NONE && from_warden[s] == W_NONE)
#define connected (daemon_up && warden_up && listed)

#if SANDBOXES == 2
#define sum(f) (f(0) + f(1))
#define all(f) (f(0) && f(1))
#define any(f) (f(0) || f(1))
#else
#define sum(f) (f(0) + f(1) + f(2))
#define all(f) (f(0) && f(1) && f(2))
#define any(f) (f(0) || f(1) || f(2))
#endif
#if CLIENTS == 1
#define waiting_all waiting[0]
#else
#define waiting_all (waiting[0] + waiting[1])
#endif
#define is_ready(s) (mem[s] == M_READY)
#define is_warming(s) (mem[s] == M_WARMING || mem[s] == M_ADOPTED)
#define is_poppable(s) (mem[s] == M_READY && session[s] == 2)
#define is_heard(s) (session[s] == 2 || (mem[s] != M_ADOPTED && mem[s] != M_CLAIMED))
#define ready_all sum(is_ready)
#define warming_all sum(is_warming)

/* Conditions that can be forgotten. */
#ifdef SPAWN_BEFORE_RECORD
#define SPAWN_MAY_BEGIN(s) true
#else
#define SPAWN_MAY_BEGIN(s) (dirty[s] == 0)
#endif
#ifdef FAILED_IS_FOUND
#define IS_KNOWN(s) true
#else
#define IS_KNOWN(s) (!unknown[s])
#endif
#ifdef MADE_AFTER_BIND
#define MAY_BE_BOUND(s) true
#define MAY_BE_TOLD(s) (mem[s] != M_CLAIMING || made[s])
#else
#define MAY_BE_BOUND(s) made[s]
#define MAY_BE_TOLD(s) true
#endif
#ifdef NEWCOMERS_OVERTAKE
#define NOBODY_WAITS true
#else
#define NOBODY_WAITS (waiting_all == 0)
#endif
#ifdef ASKED_BEFORE_SETTLED
#define MAY_BE_ASKED true
#else
#define MAY_BE_ASKED settled
#endif

/* ---- what the daemon does in one turn ---- */

/* Writes come to the store in the order in which they were begun. The last one of a sandbox stands for those before it. */
inline written(s)
{
        for (each(j_)) {
                if
                :: dirty[s] > 0 && dirty[j_] > dirty[s] -> dirty[j_]--
                :: else
                fi
        }
        dirty[s] = 0
}

#define is_dirty(s) (dirty[s] > 0)
inline put(s)
{
        written(s);
        dirty[s] = 1 + sum(is_dirty)
}

inline hang_up(s)
{
        to_hello[s] = 0;
        from_hello[s] = 0;
        from_bound[s] = 0;
        session[s] = 0;
        sent[s] = 0
}

inline hello(s)
{
        hang_up(s);
        session[s] = 1;
        to_hello[s] = 1
}

inline refuse(c)
{
        if
        :: client[c] == C_WAITING -> client[c] = (keyed(c) -> C_IDLE : C_OVER)
        :: else
        fi
}

/* BIND goes out. */
inline bind(s)
{
#ifdef COMMANDS
        along[s] = !begun[s];
        begun[s] = 1;
        whose[s] = claimer[s];
#endif
        to_bind[s] = claim[s];
        sent[s] = 1
}

/* Client c is told that sandbox s is his; where nobody listens any more, he could have been. */
inline tell(c, s)
{
        assert(lives(s));
        assert(owner[s] == 0 || owner[s] == c + 1);
        assert(claim[s] != 0 && rec[s] == R_RUNNING && rec_claim[s] == claim[s]);
        assert(box[s] != B_LIVE || bound[s] == claim[s]);
        assert(made[s]);
        /* All answers to one key name one sandbox. */
        assert(!keyed(c) || !key_promised || promised[s]);
        assert(!keyed(c) || !key_ended);
        promised[s] = 1;
        key_promised = (keyed(c) -> 1 : key_promised);
        if
        :: client[c] == C_WAITING ->
                client[c] = C_GOT;
                got[c] = s;
                owner[s] = c + 1
        :: else
        fi
}

inline leave(s)
{
        assert(mem[s] != M_CLAIMED || may_end[s] || unknown[s]);
        mem[s] = M_LEAVING;
        put(s);
        asked[s] = 0
}

inline begin(s)
{
        mem[s] = M_WARMING;
        put(s);
        asked[s] = 0;
        claim[s] = 0;
        key[s] = 0;
        ids[s] = 0;
        claimer[s] = 0;
        unknown[s] = 0;
        owner[s] = 0;
        promised[s] = 0;
        made[s] = 0;
        may_end[s] = 0
}

/* Sandbox s was popped for client c. */
inline give(c, s)
{
        assert(told_pool == P_ACTIVE);
        assert(mem[s] == M_READY && session[s] == 2);
        assert(owner[s] == 0 && bound[s] == 0 && (rec_claim[s] == 0 || dirty[s] > 0));
#ifndef POP_LEAVES_READY
        mem[s] = M_CLAIMING;
#endif
        ids[s]++;
        claim[s] = ids[s];
        key[s] = (keyed(c) -> c + 1 : 0);
        claimer[s] = c;
        sent[s] = 0;
#ifdef COMMANDS
        begun[s] = 0;
#endif
        put(s)
#ifdef BIND_BEFORE_RECORD
        ;
        bind(s)
#endif
}

/* One that ends while it is being claimed: the claim is tried with another. */
inline claim_failed(s)
{
        if
        :: mem[s] == M_CLAIMING ->
                unknown[s] = 1;
#ifndef RETRY_IS_LOST
                if
#ifndef WAITS_IN_DRAINED
                :: pool != P_ACTIVE -> refuse(claimer[s])
#endif
#ifdef COMMANDS
#ifndef COMMAND_IS_BEGUN_AGAIN
                :: begun[s] -> refuse(claimer[s])
#endif
#endif
                :: else ->
                        head = claimer[s];
                        waiting[claimer[s]]++
                fi
#endif
        :: else
        fi
}

inline died(s)
{
        may_end[s] = 1;
        claim_failed(s);
        if
        :: lives(s) -> leave(s)
        :: else
        fi
}

/* Its creto-init has answered, and it is nobody's. */
inline offer(s)
{
        if
#ifndef READY_IN_DRAINED
        :: pool != P_ACTIVE -> leave(s)
#endif
        :: else -> mem[s] = M_READY
        fi
}

/* The sandbox that this client's key has or had, or SANDBOXES; ENDED where only its record is left. */
#define ENDED (SANDBOXES + 1)
inline find_same(c)
{
        same_ = (keyed(c) && rec_ended -> ENDED : SANDBOXES);
        for (each(i_)) {
                if
                :: keyed(c) && key[i_] == c + 1 && (owned(i_) || mem[i_] == M_LEAVING || mem[i_] == M_GONE) && IS_KNOWN(i_) -> same_ = i_
                :: else
                fi
        }
}

/* What has ended is the answer still: it may have been his. */
inline answer_again(c)
{
        if
        :: same_ == ENDED ->
                assert(!key_promised || ended_promised);
                key_ended = 1;
                client[c] = C_OVER
        :: same_ < SANDBOXES && mem[same_] == M_CLAIMED -> tell(c, same_)
        :: same_ < SANDBOXES && mem[same_] == M_CLAIMING /* it is answered when that is */
        :: else ->
                assert(!key_promised || promised[same_]);
                key_ended = 1;
                client[c] = C_OVER
        fi
}

/* The first that is ready, or SANDBOXES. */
inline pop(s)
{
        s = SANDBOXES;
        for (each(i_)) {
                if
                :: s == SANDBOXES && mem[i_] == M_READY && session[i_] == 2 -> s = i_
                :: else
                fi
        }
}

inline request(c)
{
        client[c] = C_WAITING;
        find_same(c);
        if
        :: same_ != SANDBOXES -> answer_again(c)
#ifndef CLAIM_FROM_DRAINED
        :: same_ == SANDBOXES && pool != P_ACTIVE -> refuse(c)
#endif
        :: else ->
                pop(m_);
                if
                :: m_ < SANDBOXES && NOBODY_WAITS -> give(c, m_)
                :: else ->
                        head = (waiting_all == 0 -> c : head);
                        waiting[c]++
                fi
        fi
}

/* creto-init has said what it is bound to. */
inline greeted(s, b)
{
        session[s] = 2;
        if
        :: (mem[s] == M_WARMING || mem[s] == M_ADOPTED || mem[s] == M_READY) && b == 0 ->
                if
                :: mem[s] == M_WARMING -> put(s)
                :: else
                fi;
                if
                :: mem[s] != M_READY -> offer(s)
                :: else
                fi
        :: (mem[s] == M_WARMING || mem[s] == M_ADOPTED || mem[s] == M_READY) && b != 0 -> died(s)
        :: mem[s] == M_CLAIMING && b == claim[s] ->
                mem[s] = M_CLAIMED;
#ifdef MADE_AFTER_BIND
                made[s] = 1;
#endif
                tell(claimer[s], s)
        :: mem[s] == M_CLAIMING && b == 0 ->
#ifdef SENT_AGAIN_BEFORE_RECORD
                bind(s)
#else
                skip /* it is sent again when it is recorded */
#endif
        :: mem[s] == M_CLAIMING && b != 0 && b != claim[s] -> died(s)
        :: mem[s] == M_CLAIMED && b == claim[s] /* as it should be */
        :: mem[s] == M_CLAIMED && b != claim[s] ->
#ifndef RECORD_IS_BELIEVED
#ifdef BACK_TO_READY /* not a mistake, but not what is done: README.md */
                claim[s] = 0;
                key[s] = 0;
                put(s);
                offer(s)
#else
                unknown[s] = 1;
                died(s)
#endif
#else
                skip
#endif
        :: else
        fi
}

/* The warden has said what there is. */
inline listed_one(s)
{
        asked[s] = 0;
        if
        :: mem[s] == M_NONE ->
                if
                :: box[s] != B_NONE -> to_warden[s] = W_END
                :: else
                fi
        :: mem[s] == M_WARMING && box[s] == B_NONE ->
#ifdef LOST_SPAWN_IS_FORGOTTEN
                asked[s] = 1
#else
                skip /* made again */
#endif
        :: mem[s] == M_WARMING && box[s] == B_BUILDING -> asked[s] = 1
        :: lives(s) && mem[s] != M_WARMING && box[s] == B_NONE -> died(s)
        :: lives(s) && box[s] == B_DEAD -> died(s)
        :: lives(s) && box[s] == B_LIVE && session[s] == 0 -> hello(s)
        :: else
        fi
}

inline loaded(s)
{
        claim[s] = rec_claim[s];
#ifdef KEY_IS_NOT_RECORDED
        key[s] = 0;
#else
        key[s] = rec_key[s];
#endif
        dirty[s] = 0;
        asked[s] = 0;
        unknown[s] = 0;
        claimer[s] = 0;
        if
        :: rec[s] == R_NONE -> mem[s] = M_NONE
        :: rec[s] == R_CREATING -> mem[s] = M_WARMING
        :: rec[s] == R_READY -> mem[s] = M_ADOPTED
        :: rec[s] == R_RUNNING -> mem[s] = M_CLAIMED
#ifdef ENDING_IS_FORGOTTEN
        :: rec[s] == R_TERMINATING -> mem[s] = M_GONE
#else
        :: rec[s] == R_TERMINATING -> mem[s] = M_LEAVING
#endif
        fi;
        if
        :: pool == P_GONE && (mem[s] == M_WARMING || mem[s] == M_ADOPTED) -> leave(s)
        :: else
        fi
}

/* Drained or deleted. */
inline close_pool(how)
{
        pool = how;
        pool_dirty = 1;
        extra = 0;
        for (each(n_)) {
                if
                :: mem[n_] == M_READY ->
#ifdef DELETED_ARE_FORGOTTEN
                        if
                        :: how == P_GONE -> mem[n_] = M_NONE
                        :: else -> leave(n_)
                        fi
#else
                        leave(n_)
#endif
#ifdef DELETE_ENDS_CLAIMED
                :: mem[n_] == M_CLAIMED && how == P_GONE -> leave(n_)
#endif
                :: else
                fi
        }
        for (n_ : 0..(CLIENTS - 1)) {
                if
                :: waiting[n_] > 0 ->
                        waiting[n_] = 0;
                        refuse(n_)
                :: else
                fi
        }
        head = 0 /* and a step cannot end with a loop */
}

/* ---- who does it: the daemon ---- */

/* All that concerns one sandbox. */
proctype turn(byte s)
{
        byte b;
end:
        do
        :: d_step { daemon_up && from_hello[s] != 0 ->
                b = from_hello[s] - 1;
                from_hello[s] = 0;
                greeted(s, b);
                b = 0
        }
        :: d_step { daemon_up && from_bound[s] != 0 && MAY_BE_TOLD(s) ->
                b = from_bound[s];
                from_bound[s] = 0;
                if
                :: mem[s] == M_CLAIMING && b == claim[s] ->
                        mem[s] = M_CLAIMED;
                        tell(claimer[s], s)
                :: mem[s] == M_CLAIMING && b != claim[s] -> died(s)
#ifdef ENDED_IS_ANSWERED
                :: mem[s] == M_LEAVING && b == claim[s] -> tell(claimer[s], s)
#endif
                :: else
                fi;
                b = 0
        }
        :: d_step { daemon_up && mem[s] == M_CLAIMING && dirty[s] == 0 && !made[s] && session[s] == 2 && box[s] == B_LIVE -> made[s] = 1 }
        :: d_step { daemon_up && mem[s] == M_CLAIMING && dirty[s] == 0 && !sent[s] && session[s] == 2 && MAY_BE_BOUND(s) ->
                bind(s)
#ifdef ANSWER_BEFORE_BOUND
                ;
                mem[s] = M_CLAIMED;
                tell(claimer[s], s)
#endif
        }
        :: d_step { connected && mem[s] == M_WARMING && !asked[s] && session[s] == 0 && SPAWN_MAY_BEGIN(s) ->
                to_warden[s] = W_SPAWN;
                asked[s] = 1
        }
        :: d_step { connected && mem[s] == M_LEAVING && !asked[s] ->
                to_warden[s] = W_END;
                asked[s] = 1
#ifdef RECORD_GOES_FIRST
                ;
                mem[s] = M_GONE;
                put(s)
#endif
        }
        :: d_step { daemon_up && from_warden[s] == W_SPAWN ->
                from_warden[s] = W_NONE;
                if
                :: mem[s] == M_WARMING && box[s] == B_LIVE && session[s] == 0 -> hello(s)
                :: else
                fi
        }
        :: d_step { daemon_up && from_warden[s] == W_END && dirty[s] == 0 -> /* what was begun before is written: two in one would lose their order */
                from_warden[s] = W_NONE;
                if
                :: mem[s] == M_LEAVING ->
                        mem[s] = M_GONE;
                        put(s)
                :: else
                fi
        }
        :: d_step { daemon_up && exited[s] ->
                exited[s] = 0;
#ifndef DEATH_IS_NOT_SEEN
                if
                :: lives(s) -> died(s)
                :: else
                fi
#endif
        }
#ifdef POP_LEAVES_READY
        :: d_step { daemon_up && mem[s] == M_READY && claim[s] != 0 && dirty[s] == 0 -> mem[s] = M_CLAIMING }
#endif
        :: d_step { daemon_up && listed && lives(s) && box[s] == B_LIVE && session[s] == 0 && !exited[s] &&
                    (mem[s] != M_WARMING || (asked[s] && from_warden[s] == W_NONE)) ->
                hello(s)
        }
#if OPERATIONS /* the operator ends it */
        :: d_step { daemon_up && settled && operations < OPERATIONS && lives(s) ->
                operations++;
                may_end[s] = 1;
#ifndef ENDED_IS_ANSWERED
                claim_failed(s);
#endif
                leave(s)
        }
#endif
        od
}

/* All that concerns the pool: what is to be made, who waits, and the beginning. */
proctype turns()
{
end:
        do
        :: d_step { daemon_up && warden_up && !listed ->
                for (each(n_)) { listed_one(n_) }
                listed = 1
        }
        :: d_step { daemon_up && listed && !settled && all(is_heard) ->
                settled = 1
        }
        :: d_step { daemon_up && settled && pool == P_ACTIVE && any(unused) &&
                    (ready_all + warming_all < TARGET || waiting_all > warming_all || extra) ->
                if
                :: ready_all + warming_all >= TARGET && waiting_all <= warming_all -> extra = 0
                :: else
                fi;
                n_ = 0;
                do
                :: unused(n_) -> break
                :: else -> n_++
                od;
                begin(n_)
        }
#ifndef WAITING_IS_NOT_SEEN
        :: d_step { daemon_up && settled && waiting_all > 0 && any(is_poppable) ->
                n_ = head;
                waiting[n_]--;
                head = (waiting[n_] == 0 && waiting_all > 0 -> 1 - n_ : n_);
                same_ = SANDBOXES;
#ifndef KEY_IS_NOT_LOOKED_FOR
                find_same(n_);
#endif
                if
                :: same_ != SANDBOXES && client[n_] == C_WAITING -> answer_again(n_)
                :: same_ != SANDBOXES && client[n_] != C_WAITING
                :: else ->
                        pop(m_);
                        give(n_, m_)
                fi
        }
#endif
        od
}

/* ---- and everybody else ---- */

/* The store, the warden and creto-init, for one sandbox. */
proctype place(byte s)
{
end:
        do
        :: d_step { dirty[s] == 1 ->
                written(s);
                rec_claim[s] = claim[s];
#ifdef FAILURE_IS_NOT_RECORDED
                rec_key[s] = key[s];
#else
                rec_key[s] = (unknown[s] -> 0 : key[s]);
#endif
                if
                :: mem[s] == M_WARMING -> rec[s] = R_CREATING
                :: mem[s] == M_READY || mem[s] == M_ADOPTED -> rec[s] = (claim[s] == 0 -> R_READY : R_RUNNING)
                :: mem[s] == M_CLAIMING || mem[s] == M_CLAIMED -> rec[s] = R_RUNNING
                :: mem[s] == M_LEAVING -> rec[s] = R_TERMINATING
                :: mem[s] == M_GONE ->
                        if
                        :: key[s] != 0 && !unknown[s] ->
                                rec_ended = 1;
                                ended_promised = promised[s]
                        :: else
                        fi;
                        rec[s] = R_NONE;
                        rec_claim[s] = 0;
                        rec_key[s] = 0;
                        mem[s] = M_NONE;
                        claim[s] = 0;
                        key[s] = 0;
                        ids[s] = 0;
                        claimer[s] = 0;
                        unknown[s] = 0;
                        asked[s] = 0;
                        made[s] = 0
                :: else
                fi
        }
        :: d_step { warden_up && to_warden[s] == W_SPAWN ->
                to_warden[s] = W_NONE;
                if
                :: box[s] == B_NONE -> box[s] = B_BUILDING
                :: else -> from_warden[s] = W_SPAWN
                fi
        }
        :: d_step { warden_up && box[s] == B_BUILDING && to_warden[s] != W_END ->
                box[s] = B_LIVE;
                if
                :: daemon_up && listed -> from_warden[s] = W_SPAWN
                :: else
                fi
        }
        :: d_step { warden_up && to_warden[s] == W_END ->
                to_warden[s] = W_NONE;
                box[s] = B_NONE;
                bound[s] = 0;
                to_bind[s] = 0;
                exited[s] = 0;
                hang_up(s);
                from_warden[s] = W_END
        }
        :: d_step { box[s] == B_LIVE && to_hello[s] ->
                to_hello[s] = 0;
#ifndef OLD_CONNECTION_IS_HEARD
                to_bind[s] = 0; /* what came over an earlier connection and was not read is not read any more */
#endif
                from_hello[s] = bound[s] + 1
        }
        :: d_step { box[s] == B_LIVE && to_bind[s] != 0 ->
#ifdef INIT_TAKES_ANOTHER
                bound[s] = to_bind[s];
#else
                if
                :: bound[s] == 0 -> bound[s] = to_bind[s]
                :: else
                fi;
#endif
#ifdef COMMANDS
                if
                :: along[s] && bound[s] == to_bind[s] ->
                        assert(!ran[whose[s]]);
                        ran[whose[s]] = 1
                :: else
                fi;
                along[s] = 0;
#endif
                to_bind[s] = 0;
                if
                :: session[s] == 2 -> from_bound[s] = bound[s]
                :: else
                fi
        }
        :: d_step { box[s] == B_LIVE && init_deaths < INIT_DEATHS ->
                init_deaths++;
                box[s] = B_DEAD;
                bound[s] = 0;
                to_bind[s] = 0;
                hang_up(s);
                if
                :: connected -> exited[s] = 1
                :: else
                fi
        }
        :: d_step { box[s] == B_LIVE && session[s] != 0 && drops < DROPS ->
                drops++;
                hang_up(s)
        }
        od
}

proctype store()
{
end:
        do
        :: d_step { pool_dirty ->
                pool_dirty = 0;
                rec_pool = pool;
                told_pool = pool
        }
        od
}

proctype claims(byte c)
{
end:
        do
        :: d_step { client[c] == C_IDLE && tries[c] < TRIES ->
#ifndef ENDLESS
                tries[c]++;
#endif
                client[c] = C_ASKING
        }
        :: d_step { client[c] == C_ASKING && daemon_up && MAY_BE_ASKED ->
                request(c)
        }
#ifndef ENDLESS
        :: d_step { client[c] == C_WAITING && keyed(c) && tries[c] < TRIES -> client[c] = C_IDLE } /* impatient */
        :: d_step { client[c] == C_WAITING && client_deaths < CLIENT_DEATHS ->
                client_deaths++;
                client[c] = C_OVER
        }
        :: d_step { client[c] == C_GOT -> client[c] = C_OVER } /* without a word */
#endif
        :: d_step { client[c] == C_GOT && owner[got[c]] != c + 1 -> client[c] = C_OVER }
        :: d_step { client[c] == C_GOT && owner[got[c]] == c + 1 && daemon_up && settled ->
#ifdef ENDLESS
                client[c] = C_IDLE;
#else
                client[c] = C_OVER;
#endif
                may_end[got[c]] = 1;
                if
                :: mem[got[c]] == M_CLAIMED ->
#ifdef USED_IS_REUSED
                        mem[got[c]] = M_READY;
                        claim[got[c]] = 0;
                        key[got[c]] = 0;
                        put(got[c]);
                        owner[got[c]] = 0;
                        promised[got[c]] = 0
#else
                        leave(got[c]);
                        extra = (REUSABLE && pool == P_ACTIVE -> 1 : extra)
#endif
                :: else
                fi;
                got[c] = 0
        }
        od
}

/* Drain, make active, delete. */
proctype operator()
{
end:
        do
        :: d_step { daemon_up && settled && operations < OPERATIONS && pool == P_ACTIVE && !pool_dirty ->
                operations++;
                close_pool(P_DRAINING)
#ifdef DRAIN_IS_ANSWERED_EARLY
                ;
                told_pool = P_DRAINING
#endif
        }
        :: d_step { daemon_up && settled && operations < OPERATIONS && pool == P_DRAINING && !pool_dirty ->
                operations++;
                told_pool = P_ACTIVE;
                pool = P_ACTIVE;
                pool_dirty = 1
        }
        :: d_step { daemon_up && settled && operations < OPERATIONS && pool != P_GONE && !pool_dirty ->
                operations++;
                close_pool(P_GONE)
        }
        od
}

/* Deaths, and coming back. */
proctype fate()
{
end:
        do
        :: d_step { daemon_up && daemon_deaths < DAEMON_DEATHS ->
                daemon_deaths++;
                daemon_up = 0;
                listed = 0;
                settled = 0;
                pool_dirty = 0;
                extra = 0;
                pool = P_ACTIVE;
                for (each(n_)) {
                        hang_up(n_);
                        mem[n_] = M_NONE;
                        claim[n_] = 0;
                        key[n_] = 0;
                        ids[n_] = 0;
                        claimer[n_] = 0;
                        dirty[n_] = 0;
                        asked[n_] = 0;
                        unknown[n_] = 0;
#ifdef COMMANDS
                        begun[n_] = 0;
#endif
                        to_warden[n_] = W_NONE;
                        from_warden[n_] = W_NONE;
                        exited[n_] = 0
                }
                for (n_ : 0..(CLIENTS - 1)) {
                        waiting[n_] = 0;
                        refuse(n_)
                }
                head = 0;
                n_ = 0
        }
        :: d_step { !daemon_up ->
                daemon_up = 1;
                pool = rec_pool;
                for (each(n_)) { loaded(n_) }
                n_ = 0
        }
        :: d_step { warden_up && warden_deaths < WARDEN_DEATHS ->
                warden_deaths++;
                warden_up = 0;
                listed = 0;
                for (each(n_)) {
                        to_warden[n_] = W_NONE;
                        from_warden[n_] = W_NONE;
                        exited[n_] = 0;
                        box[n_] = (box[n_] == B_BUILDING -> B_NONE : box[n_])
                }
                n_ = 0
        }
        :: d_step { !warden_up -> warden_up = 1 }
        od
}

/* ---- what has to hold in every state, and at rest ---- */

#define bound_is_recorded(s) (box[s] != B_LIVE || bound[s] == 0 || (rec[s] >= R_RUNNING && rec_claim[s] == bound[s]))
#define there_is_recorded(s) (box[s] == B_NONE || rec[s] != R_NONE)
#define ready_is_nobodys(s) (mem[s] != M_READY || (owner[s] == 0 && !promised[s] && (box[s] != B_LIVE || bound[s] == 0)))
#define one_a_key(s, o) (!owned(s) || !owned(o) || key[s] == 0 || key[s] != key[o])
#if SANDBOXES == 2
#define keys_are_kept one_a_key(0, 1)
#else
#define keys_are_kept (one_a_key(0, 1) && one_a_key(0, 2) && one_a_key(1, 2))
#endif

#define is_nothing(s) (mem[s] == M_NONE && rec[s] == R_NONE && box[s] == B_NONE)
#define is_good_ready(s) (mem[s] == M_READY && pool == P_ACTIVE && rec[s] == R_READY && box[s] == B_LIVE && bound[s] == 0)
#define is_good_claimed(s) (mem[s] == M_CLAIMED && rec[s] == R_RUNNING && box[s] == B_LIVE && bound[s] == claim[s])
#define is_at_rest(s) (is_nothing(s) || is_good_ready(s) || is_good_claimed(s))
#define waits(c) (client[c] == C_ASKING || client[c] == C_WAITING)

/* What ends where nobody can do anything any more is judged as well: everything is as it should stay. */
active proctype judge()
{
end:
        do
        :: !all(bound_is_recorded) -> assert(all(bound_is_recorded))
        :: !all(there_is_recorded) -> assert(all(there_is_recorded))
        :: !all(ready_is_nobodys) -> assert(all(ready_is_nobodys))
        :: !keys_are_kept -> assert(keys_are_kept)
        :: timeout ->
                assert(daemon_up && warden_up && settled);
                assert(all(is_at_rest));
                assert(!waits(0) && !waits(CLIENTS - 1));
                assert(pool != P_ACTIVE || ready_all >= TARGET || !any(unused));
                break
        od
}

init {
        byte n;

        atomic {
                for (n : 0..(SANDBOXES - 1)) {
                        run turn(n);
                        run place(n)
                }
                for (n : 0..(CLIENTS - 1)) { run claims(n) }
                run turns();
                run store();
#if OPERATIONS
                run operator();
#endif
#if DAEMON_DEATHS + WARDEN_DEATHS
                run fate();
#endif
                n = 0
        }
}

#ifdef ENDLESS
ltl claims_are_answered { [] (client[0] == C_WAITING -> <> (client[0] != C_WAITING)) }
ltl pool_gets_full { [] <> (ready_all >= TARGET) }
#endif
