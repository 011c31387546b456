/*
 * creto-runtime completion: commands, options and sandboxes, for three shells. Sandboxes are asked for when they are wanted.
 */
#include <stdio.h>
#include <string.h>

#include "programs/runtime/cli.h"

#define COMMANDS                                                                                                                           \
        "run spawn exec list status get logs events pause resume renew terminate cp pool keys runtimes drain enable health image doctor completion version help"
#define SPEC                                                                                                                                              \
        "--image --pull --memory --memory-swap --cpu --vcpus --pids --disk --disk-inodes --nofile --core --output-rate --env --label --cwd --user --ttl " \
        "--runtime --trust --network-policy --allow-fallback --runsc-path"
#define TRUST "trusted standard untrusted confidential"
#define CLASSES "creto-runtime runtimes 2>/dev/null </dev/null | cut -f1"
#define TAKES_ID "exec status get logs events pause resume renew terminate"
#define LIST "--status --runtime --label --pool --sort-by --descending --cpu-usage --memory-usage --limit --all --json"

#define POOL "create update get list stats logs claim release spawn evict drain activate delete"
#define POOL_TAKES_ID "update get stats logs claim spawn evict drain activate delete"
#define NOT_POOL "not __fish_seen_subcommand_from pool"
#define POOL_SETTINGS                                                                                                                      \
        "--min-ready --max-ready --max-age --reusable --auto-scaling-enabled --auto-scaling-headroom --auto-scaling-scale-down"
#define POOL_OPTIONS                                                                                                                       \
        POOL_SETTINGS                                                                                                                      \
        " --template --phase --limit --count --all --env --label --file --ttl --idle-timeout --memory --memory-swap --cpu --pids --runtime --no-fallback --json"

static const char bash[] =
        "# creto-runtime completion bash: source it, or put it into a file of /etc/bash_completion.d.\n"
        "_creto_runtime() {\n"
        "    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]}\n"
        "    COMPREPLY=()\n"
        "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
        "        COMPREPLY=($(compgen -W '" COMMANDS "' -- \"$word\"))\n"
        "        return\n"
        "    fi\n"
        "    case ${COMP_WORDS[COMP_CWORD - 1]} in\n"
        "    --runtime) COMPREPLY=($(compgen -W \"$(" CLASSES ")\" -- \"$word\")); return ;;\n"
        "    --trust) COMPREPLY=($(compgen -W '" TRUST "' -- \"$word\")); return ;;\n"
        "    esac\n"
        "    case $command in\n"
        "    run | spawn) COMPREPLY=($(compgen -W '" SPEC " --timeout --idle-timeout --interactive --tty --json' -- \"$word\")) ;;\n"
        "    list) COMPREPLY=($(compgen -W '" LIST "' -- \"$word\")) ;;\n"
        "    keys) COMPREPLY=($(compgen -W 'create list revoke --name --role --expires --json' -- \"$word\")) ;;\n"
        "    image) COMPREPLY=($(compgen -W 'list pull rm prune' -- \"$word\")) ;;\n"
        "    pool)\n"
        "        if [ \"$COMP_CWORD\" -eq 2 ]; then\n"
        "            COMPREPLY=($(compgen -W '" POOL "' -- \"$word\"))\n"
        "        elif [[ $word == -* ]]; then\n"
        "            COMPREPLY=($(compgen -W '" POOL_OPTIONS "' -- \"$word\"))\n"
        "        elif [ \"${COMP_WORDS[2]}\" = release ]; then\n"
        "            COMPREPLY=($(compgen -W \"$(creto-runtime list 2>/dev/null </dev/null)\" -- \"$word\"))\n"
        "        elif [[ \" " POOL_TAKES_ID " \" == *\" ${COMP_WORDS[2]} \"* ]]; then\n"
        "            COMPREPLY=($(compgen -W \"$(creto-runtime pool list 2>/dev/null </dev/null)\" -- \"$word\"))\n"
        "        fi ;;\n"
        "    runtimes) COMPREPLY=($(compgen -W '--measure --json' -- \"$word\")) ;;\n"
        "    doctor) COMPREPLY=($(compgen -W '--json' -- \"$word\")) ;;\n"
        "    help) COMPREPLY=($(compgen -W 'run pool' -- \"$word\")) ;;\n"
        "    drain | enable) COMPREPLY=($(compgen -W '--runtime' -- \"$word\")) ;;\n"
        "    completion) COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$word\")) ;;\n"
        "    cp) COMPREPLY=($(compgen -f -- \"$word\") $(compgen -S : -W \"$(creto-runtime list 2>/dev/null </dev/null)\" -- \"$word\")) ;;\n"
        "    exec | status | get | logs | events | pause | resume | renew | terminate)\n"
        "        COMPREPLY=($(compgen -W \"$(creto-runtime list 2>/dev/null </dev/null)\" -- \"$word\")) ;;\n"
        "    esac\n"
        "}\n"
        "complete -o default -F _creto_runtime creto-runtime creto-runtime-cli\n";

static const char zsh[] =
        "#compdef creto-runtime creto-runtime-cli\n"
        "# creto-runtime completion zsh: put it into a file _creto-runtime of your $fpath.\n"
        "_creto_runtime() {\n"
        "    if (( CURRENT == 2 )); then\n"
        "        compadd -- ${=:-" COMMANDS "}\n"
        "        return\n"
        "    fi\n"
        "    case $words[CURRENT-1] in\n"
        "    --runtime) compadd -- ${(f)\"$(" CLASSES ")\"}; return ;;\n"
        "    --trust) compadd -- " TRUST "; return ;;\n"
        "    esac\n"
        "    case $words[2] in\n"
        "    drain|enable) compadd -- --runtime ;;\n"
        "    run|spawn) compadd -- ${=:-" SPEC " --timeout --idle-timeout --interactive --tty --json} ;;\n"
        "    list) compadd -- ${=:-" LIST "} ;;\n"
        "    keys) compadd -- create list revoke --name --role --expires --json ;;\n"
        "    image) compadd -- list pull rm prune ;;\n"
        "    pool)\n"
        "        if (( CURRENT == 3 )); then compadd -- ${=:-" POOL "}\n"
        "        elif [[ $words[CURRENT] == -* ]]; then compadd -- ${=:-" POOL_OPTIONS "}\n"
        "        elif [[ $words[3] == release ]]; then compadd -- ${(f)\"$(creto-runtime list 2>/dev/null </dev/null)\"}\n"
        "        elif [[ \" " POOL_TAKES_ID
        " \" == *\" $words[3] \"* ]]; then compadd -- ${(f)\"$(creto-runtime pool list 2>/dev/null </dev/null)\"}\n"
        "        fi ;;\n"
        "    runtimes) compadd -- --measure --json ;;\n"
        "    doctor) compadd -- --json ;;\n"
        "    help) compadd -- run pool ;;\n"
        "    completion) compadd -- bash zsh fish ;;\n"
        "    cp) _files; compadd -S : -- ${(f)\"$(creto-runtime list 2>/dev/null </dev/null)\"} ;;\n"
        "    exec|status|get|logs|events|pause|resume|renew|terminate) compadd -- ${(f)\"$(creto-runtime list 2>/dev/null </dev/null)\"} ;;\n"
        "    esac\n"
        "}\n"
        "_creto_runtime \"$@\"\n";

static const char fish[] =
        "# creto-runtime completion fish: put it into ~/.config/fish/completions/creto-runtime.fish.\n"
        "complete -c creto-runtime -f -n __fish_use_subcommand -a '" COMMANDS "'\n"
        "complete -c creto-runtime -f -n '__fish_seen_subcommand_from " TAKES_ID "; and " NOT_POOL
        "' -a '(creto-runtime list 2>/dev/null </dev/null)'\n"
        "for option in (string split ' ' -- '" SPEC "')\n"
        "    complete -c creto-runtime -n '__fish_seen_subcommand_from run spawn; and " NOT_POOL "' -l (string sub -s 3 -- $option)\n"
        "end\n"
        "for option in (string split ' ' -- '" LIST "')\n"
        "    complete -c creto-runtime -n '__fish_seen_subcommand_from list; and " NOT_POOL "' -l (string sub -s 3 -- $option)\n"
        "end\n"
        "complete -c creto-runtime -f -n '__fish_seen_subcommand_from run spawn list drain enable' -l runtime -xa '(" CLASSES ")'\n"
        "complete -c creto-runtime -f -n '__fish_seen_subcommand_from run spawn' -l trust -xa '" TRUST "'\n"
        "set -l pool_commands " POOL "\n"
        "complete -c creto-runtime -f -n \"__fish_seen_subcommand_from pool; and not __fish_seen_subcommand_from $pool_commands\" -a \"$pool_commands\"\n"
        "complete -c creto-runtime -n '__fish_seen_subcommand_from pool; and __fish_seen_subcommand_from " POOL_TAKES_ID
        "' -a '(creto-runtime pool list 2>/dev/null </dev/null)'\n"
        "complete -c creto-runtime -n '__fish_seen_subcommand_from pool; and __fish_seen_subcommand_from release'"
        " -a '(creto-runtime list 2>/dev/null </dev/null)'\n"
        "for option in (string split ' ' -- '" POOL_OPTIONS "')\n"
        "    complete -c creto-runtime -n '__fish_seen_subcommand_from pool' -l (string sub -s 3 -- $option)\n"
        "end\n"
        "complete -c creto-runtime -n '__fish_seen_subcommand_from runtimes' -l measure\n"
        "complete -c creto-runtime -n '__fish_seen_subcommand_from runtimes doctor' -l json\n"
        "complete -c creto-runtime -f -n '__fish_seen_subcommand_from help' -a 'run pool'\n"
        "complete -c creto-runtime -f -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n";

int cmd_completion(int argc, char **argv)
{
        static const struct {
                const char *shell, *text;
        } all[] = { { "bash", bash }, { "zsh", zsh }, { "fish", fish } };

        for (size_t i = 0; argc == 2 && i < sizeof(all) / sizeof(all[0]); i++)
                if (strcmp(argv[1], all[i].shell) == 0)
                        return fputs(all[i].text, stdout) < 0;
        return cli_usage("completion bash|zsh|fish");
}
