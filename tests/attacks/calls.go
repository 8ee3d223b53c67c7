// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package attacks

import "slices"

// trick is a value of a pickle that does something when Python makes it.
type trick struct {
	what     string
	value    []byte
	says     string // the name of what it calls
	fires    bool   // in a plain Python on Linux
	imitates string
}

// run is a command line that makes the canary.
func run() []byte { return list(text("/bin/sh"), text("-c"), text(shell)) }

// nested is a pickle in a pickle.
func nested() []byte { return blob(pickled(2, call(global("posix.system"), text(shell)))) }

func imported(module string) []byte { return call(global("builtins.__import__"), text(module)) }

// executors are calls that run a command or a program's text.
func executors() []trick {
	fn := func(path string, arguments ...[]byte) []byte { return call(global(path), arguments...) }
	return []trick{
		{"posix-system", fn("posix.system", text(shell)), "system", true, "the plain case: os.system as pickle writes it on Linux"},
		{"os-system", fn("os.system", text(shell)), "system", true, "os.system under its public name"},
		{"nt-system", fn("nt.system", text(shell)), "system", false, "os.system as pickle writes it on Windows"},
		{"builtins-eval", fn("builtins.eval", text(python)), "eval", true, "an expression, evaluated"},
		{"builtins-exec", fn("builtins.exec", text(python)), "exec", true, "exec of a program's text"},
		{"python2-eval", fn("__builtin__.eval", text(python)), "eval", true, "a name of Python 2, which pickle maps to builtins"},
		{"compile-exec", fn("builtins.exec", fn("builtins.compile", text(python), text("x"), text("exec"))), "exec", true, "nested calls"},
		{"getattr-chain", call(fn("builtins.getattr", imported("os"), text("system")), text(shell)), "getattr", true, "mmaitre314/picklescan GHSA-655q-fx9r-782v: no name of a module in a global"},
		{"import", imported("this"), "__import__", false, "an import runs the module"},
		{"importlib", fn("importlib.import_module", text("this")), "import_module", false, "an import runs the module"},
		{"popen", fn("subprocess.Popen", run()), "Popen", true, "subprocess by its class"},
		{"check-output", fn("subprocess.check_output", run()), "check_output", true, "subprocess by a function"},
		{"getoutput", fn("subprocess.getoutput", text(shell)), "getoutput", true, "subprocess by a function"},
		{"os-popen", fn("os.popen", text(shell)), "popen", true, "os.popen"},
		{"execv", fn("posix.execv", text("/bin/sh"), run()), "execv", true, "replaces the process"},
		{"posix-spawn", fn("posix.posix_spawn", text("/bin/sh"), run(), dict()), "posix_spawn", true, "starts a process without a shell's name in subprocess"},
		{"spawnv", fn("os.spawnv", num(0), text("/bin/sh"), run()), "spawnv", true, "starts a process"},
		{"pty-spawn", fn("pty.spawn", run()), "spawn", false, "a terminal for somebody far away"},
		{"runpy", fn("runpy._run_code", text(python), dict()), "_run_code", true, "mmaitre314/picklescan GHSA-655q-fx9r-782v: what deny lists forget"},
		{"runpy-path", fn("runpy.run_path", text("evil.py")), "run_path", false, "a program beside the weights"},
		{"timeit", fn("timeit.timeit", text("pass"), text(python)), "timeit", true, "mmaitre314/picklescan#50, #53: the standard library evaluates in many places"},
		{"profile", fn("cProfile.run", text(python)), "run", true, "mmaitre314/picklescan#50, #53: what deny lists forget"},
		{"pdb", fn("pdb.run", text(python)), "run", false, "mmaitre314/picklescan#50, #53: what deny lists forget"},
		{"code", fn("code.interact", text("x")), "interact", false, "a prompt for somebody far away"},
		{"debug-script", fn("doctest.debug_script", text(python)), "debug_script", false, "mmaitre314/picklescan#50, #53: what deny lists forget"},
		{"distutils-spawn", fn("distutils.spawn.spawn", run()), "spawn", false, "a library that starts compilers"},
		{"uuid", fn("uuid._get_command_stdout", text("sh"), text("-c"), text(shell)), "_get_command_stdout", false, "mmaitre314/picklescan#50, #53: what deny lists forget"},
		{"pip-main", fn("pip.main", list(text("install"), text("modelfs-canary"))), "main", false, "CVE-2025-1716: pip runs what it installs"},
		{"pip-internal", fn("pip._internal.cli.main.main", list(text("install"), text("modelfs-canary"))), "main", false, "CVE-2025-1716 by its inner name"},
		{"asyncio", fn("asyncio.unix_events._UnixSubprocessTransport._start"), "_start", false, "CVE-2025-10157: a module below one that is denied"},
		{"multiprocessing", fn("multiprocessing.util.spawnv_passfds", text("/bin/sh"), run(), tuple()), "spawnv_passfds", false, "another way to fork"},
	}
}

// loadersOfOthers are calls of what reads further files, or opens something.
func loadersOfOthers() []trick {
	fn := func(path string, arguments ...[]byte) []byte { return call(global(path), arguments...) }
	return []trick{
		{"torch-load", fn("torch.load", text("evil.pt")), "load", false, "torch's own loader; CVE-2025-32434 was in its guarded form"},
		{"torch-hub", fn("torch.hub.load", text("evil/repository"), text("model")), "load", false, "downloads a repository and runs it"},
		{"torch-jit", fn("torch.jit.load", text("evil.pt")), "load", false, "loads code of another file"},
		{"torch-from-bytes", fn("torch.storage._load_from_bytes", nested()), "_load_from_bytes", false, "a pickle in a storage: old checkpoints hold it rightly"},
		{"torch-extension", fn("torch.utils.cpp_extension.load", text("x"), text("evil.cpp")), "load", false, "compiles and loads"},
		{"torch-library", fn("torch._ops._Ops.load_library", text("evil.so")), "load_library", false, "loads a shared library"},
		{"numpy-load", fn("numpy.load", text("evil.npy")), "load", false, "reads a pickle if told to"},
		{"numpy-runstring", fn("numpy.testing._private.utils.runstring", text(python), dict()), "runstring", false, "mmaitre314/picklescan#50, #53: exec within NumPy"},
		{"numpy-object", fn("numpy.core.multiarray._reconstruct", global("numpy.ndarray"), ints(0), text("O")), "_reconstruct", false, "an array of objects, whose state holds calls"},
		{"pickle-loads", fn("_pickle.loads", nested()), "loads", true, "a pickle in a pickle"},
		{"pickle-python", fn("pickle.loads", nested()), "loads", true, "a pickle in a pickle, by its public name"},
		{"marshal", fn("marshal.loads", blob([]byte("\xe3"))), "loads", false, "the bytecode of a function"},
		{"code-type", fn("types.FunctionType", fn("types.CodeType"), dict()), "FunctionType", false, "a function made of bytes"},
		{"joblib", fn("joblib.load", text("evil.joblib")), "load", false, "a pickle under another name"},
		{"dill", fn("dill.loads", nested()), "loads", false, "a pickle of functions"},
		{"cloudpickle", fn("cloudpickle.cloudpickle._make_function"), "_make_function", false, "a pickle of functions"},
		{"open-write", fn("builtins.open", text(canary), text("w")), "open", true, "writes a file"},
		{"file-handler", fn("logging.FileHandler", text(canary)), "FileHandler", true, "a class whose making writes a file"},
		{"zip-write", fn("zipfile.ZipFile", text(canary), text("w")), "ZipFile", true, "a class whose making writes a file"},
		{"rmtree", fn("shutil.rmtree", text("modelfs-canary-folder")), "rmtree", false, "deletes a folder"},
		{"dlopen", fn("ctypes.CDLL", text("./modelfs-canary.so")), "CDLL", false, "loads a shared library"},
		{"connect", fn("socket.create_connection", tuple(text("127.0.0.1"), num(9))), "create_connection", false, "tells somebody that the file was loaded"},
		{"urlopen", fn("urllib.request.urlopen", text("http://127.0.0.1:9/")), "urlopen", false, "tells somebody that the file was loaded"},
		{"webbrowser", fn("webbrowser.open", text("http://127.0.0.1:9/")), "open", false, "starts a browser"},
		{"zipimport", fn("zipimport.zipimporter", text("evil.pt")), "zipimporter", false, "the checkpoint itself as a package of code"},
		{"partial", call(fn("functools.partial", global("posix.system"), text(shell))), "system", true, "a function kept, and called later"},
		{"methodcaller", call(fn("operator.methodcaller", text("system"), text(shell)), imported("os")), "methodcaller", true, "a method by its name"},
		{"map", fn("builtins.list", fn("builtins.map", global("posix.system"), list(text(shell)))), "system", true, "a function as an argument"},
		{"breakpoint", fn("builtins.breakpoint"), "breakpoint", false, "a prompt"},
		{"unknown-class", fn("my_model.Network", dict(text("layers"), num(3))), "Network", false, "a checkpoint of a whole model: a class that is not there"},
	}
}

// calls are checkpoints that hold a sound weight and a call beside it: the weight
// is shown, and the call, which becomes a value that nobody looks into, is a
// finding.
func calls() []Attack {
	var rows []row
	for _, t := range slices.Concat(executors(), loadersOfOthers()) {
		rows = append(rows, t.beside(stateDict(text("evil"), t.value), found(t.says, "w")))
	}
	return table("call", ".pt", rows...)
}

// beside is the row of a trick in a checkpoint.
func (t trick) beside(pickle []byte, want Want) row {
	r := row{t.what, whole(torchZip(pickle)), want, t.imitates, nil}
	if t.fires {
		r.payload = pickle
	}
	return r
}
