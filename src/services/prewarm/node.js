// The prewarm server for Node (docs/protocols/prewarm.md): loads the modules it is told to, waits for one command, and is that command.
//
//     node -r /proc/self/environ -e 0 MODULE...        for `node -e CODE ARGUMENT...`
//     node -r /proc/self/environ prewarm MODULE...     for `node FILE ARGUMENT...`
//
// Node takes what it loads before its main program from a file; the environment is one, and this text is in it. Node then goes on with its own main program,
// which finds other arguments than those it was started with.
delete globalThis.creto_prewarm;
delete process.env.creto_prewarm;
delete process.env.creto_prewarm_js;
if (require('worker_threads').isMainThread) {
  const fs = require('fs');
  const path = require('path');
  const Module = require('module');

  const SOCKET = 3, STDIN = 1, CWD_WISH = 2;
  const READY = Buffer.from([1, 1]), TAKEN = Buffer.from([2]);
  const evaluates = process._eval !== undefined;

  const fail = (why) => {
    fs.writeSync(2, `${why}\n`);
    process.reallyExit(1);
  };

  // The options as node's own files see them: an object that no public interface leads to, but the inspector does.
  const findOptions = () => {
    const session = new (require('inspector').Session)();
    const post = (method, parameters) => {
      let answer;
      session.post(method, parameters, (error, result) => { answer = error ? fail(error.message) : result; });
      return answer;
    };
    const properties = (object) => post('Runtime.getProperties', { objectId: object, ownProperties: true });
    // A variable of the file that a function is from.
    const variable = (object, ...names) => {
      const scopes = properties(object).internalProperties.find(({ name }) => name === '[[Scopes]]');
      for (const scope of properties(scopes.value.objectId).result)
        for (const { name, value } of properties(scope.value.objectId).result)
          if (names.includes(name) && value?.objectId) return value.objectId;
      return fail(`node ${process.version} keeps its options elsewhere and cannot be prewarmed for -e`);
    };

    session.connect();
    globalThis.creto_prewarm = Module._load;
    let at = post('Runtime.evaluate', { expression: 'creto_prewarm' }).result.objectId;
    at = variable(variable(variable(at, 'getOptionValue'), 'getCLIOptionsFromBinding'), 'optionsDict', 'optionsMap');
    globalThis.creto_prewarm = {};
    post('Runtime.callFunctionOn', { objectId: at, functionDeclaration: 'function () { creto_prewarm.options = this; }' });
    const { options } = globalThis.creto_prewarm;
    delete globalThis.creto_prewarm;
    session.disconnect();
    return options;
  };

  const setOption = (options, name, value) => {
    if (options.get) options.set(name, { ...options.get(name), value });
    else options[name] = value;
  };

  const alias = (name, value) =>
    Object.defineProperty(process, name, { __proto__: null, writable: false, configurable: true, enumerable: true, value });

  const refuse = (errno) => {
    const answer = Buffer.from([3, 0, 0, 0, 0]);
    answer.writeUInt32LE(errno, 1);
    fs.writeSync(SOCKET, answer);
    process.reallyExit(0);
  };

  const parse = (packet) => {
    let at = 2;
    const number = () => packet.readUInt32LE((at += 4) - 4);
    const string = () => {
      const length = number();
      const text = packet.toString('utf8', at, at += length);
      return text.includes('\ufffd') ? refuse(84) : text; // EILSEQ: bytes that Node's strings do not hold
    };
    const cwd = string();
    const strings = () => Array.from({ length: number() }, string);
    return { flags: packet[1], cwd, argv: strings(), env: strings() };
  };

  const wait = () => {
    const packet = Buffer.allocUnsafeSlow(65536);
    fs.writeSync(SOCKET, READY);
    const length = fs.readSync(SOCKET, packet);
    if (length === 0) process.reallyExit(0);
    return parse(packet.subarray(0, length));
  };

  const enter = (request) => {
    try {
      process.chdir(request.cwd);
    } catch (error) {
      if (!(request.flags & CWD_WISH)) refuse(-error.errno);
      process.chdir('/');
    }
  };

  const setEnvironment = (env) => {
    const pairs = env.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]);
    const wanted = new Map(pairs.reverse()); // the first of a name counts
    for (const [name, value] of changed)
      if (value === undefined) wanted.delete(name);
      else wanted.set(name, value);
    const now = Object.entries(process.env), then = pairs.reverse();
    if (now.length === wanted.size && now.every(([name, value]) => wanted.get(name) === value)) return;
    for (const [name] of now) delete process.env[name];
    for (const [name] of [...then, ...changed])
      if (wanted.has(name)) process.env[name] = wanted.get(name);
  };

  const before = { ...process.env };
  const ownPath = process.env.PATH;
  const load = Module.createRequire(path.join(process.cwd(), 'prewarm'));
  for (const name of process.argv.slice(evaluates ? 1 : 2)) {
    try {
      load(name);
    } catch (error) {
      fail(`${error?.stack ?? error}\n${String(error).split('\n')[0]}`);
    }
  }
  const changed = Object.entries(process.env).filter(([name, value]) => before[name] !== value);
  for (const name of Object.keys(before)) if (!(name in process.env)) changed.push([name, undefined]);

  delete require.cache[__filename];
  for (const key of Object.keys(Module._pathCache)) if (key.startsWith('/proc/self/environ')) delete Module._pathCache[key];
  const options = evaluates ? findOptions() : null;

  const request = wait();
  const path0 = request.env.find((pair) => pair.startsWith('PATH='));
  if ((path0 ?? '') !== `PATH=${ownPath}` || evaluates !== (request.argv[1] === '-e')) refuse(2);
  enter(request);
  if (!(request.flags & STDIN)) {
    fs.closeSync(0);
    fs.openSync('/dev/null', 'r');
  }
  fs.writeSync(SOCKET, TAKEN);
  fs.closeSync(SOCKET);
  setEnvironment(request.env);

  alias('_preload_modules', []);
  if (evaluates) {
    const code = request.argv[2];
    process.argv.splice(1, Infinity, ...request.argv.slice(3));
    process.execArgv = ['-e', code];
    alias('_eval', code);
    setOption(options, '--eval', code);
    setOption(options, '--require', []);
  } else {
    const run = Module.runMain, file = path.resolve(request.argv[1]);
    process.argv.splice(1, Infinity, file, ...request.argv.slice(2));
    process.execArgv = [];
    const property = { value: run, writable: true, configurable: true, enumerable: true };
    // Asked for once, by the main program.
    Object.defineProperty(Module, 'runMain', {
      configurable: true,
      enumerable: true,
      get: () => Object.defineProperty(Module, 'runMain', property) && run.bind(Module, file),
    });
  }
}
