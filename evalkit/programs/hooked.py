"""Runs a script as its own interpreter would, and notes when some of its functions are called.

This file is started by the interpreter of another project, perhaps an old one: nothing but the standard library here.

    python hooked.py EVENTS.jsonl HOOKS.json SCRIPT [WORDS ...]

HOOKS.json lists {"target": "module:Class.method", "role": "..."}; "__main__" is the script itself. Each call becomes a
line of EVENTS.jsonl with its role and the moments of entry and return on the system's monotonic clock. A function that
is not there is noted, and the script runs all the same.
"""

import ast
import functools
import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
import types


class Notes:
    """Appends lines to a file; several processes may share it."""

    def __init__(self, path):
        self.path = path

    def write(self, **fields):
        fields["rank"] = int(os.environ.get("RANK", "0") or 0)
        line = json.dumps(fields) + "\n"
        # One write in append mode: lines of several processes do not mix.
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)


def wait_for_devices():
    """Work that was only queued is not done: a moment counts when it is."""
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()
    except Exception:  # a clock must not end somebody's program
        pass


def timed(function, role, target, notes):
    """The function, noting each call."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        begin_s = time.monotonic()
        try:
            return function(*args, **kwargs)
        finally:
            wait_for_devices()
            notes.write(role=role, target=target, begin_s=begin_s, end_s=time.monotonic())

    return wrapper


def attach(module, path, role, target, notes):
    """Put the wrapper in the place of module.path."""
    *owners, name = path.split(".")
    owner = module
    try:
        for part in owners:
            owner = getattr(owner, part)
        found = vars(owner).get(name, getattr(owner, name))
        if isinstance(found, (staticmethod, classmethod)):
            wrapped = type(found)(timed(found.__func__, role, target, notes))
        else:
            wrapped = timed(found, role, target, notes)
        setattr(owner, name, wrapped)
        notes.write(role="hooked", target=target)
    except (AttributeError, TypeError) as error:
        notes.write(role="missing", target=target, why=str(error))


class Finder(importlib.abc.MetaPathFinder):
    """Lets a module be imported as usual, then attaches its hooks."""

    def __init__(self, hooks, notes):
        self.hooks, self.notes = hooks, notes

    def find_spec(self, name, path=None, target=None):
        wanted = [hook for hook in self.hooks if hook["target"].split(":")[0] == name]
        if not wanted:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
                spec.loader = Loader(spec.loader, wanted, self.notes)
                return spec
        return None


class Loader(importlib.abc.Loader):
    """The module's own loader, and the hooks afterwards."""

    def __init__(self, loader, hooks, notes):
        self.loader, self.hooks, self.notes = loader, hooks, notes

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        for hook in self.hooks:
            attach(module, hook["target"].split(":")[1], hook["role"], hook["target"], self.notes)


def with_hooks(source, script, paths):
    """The script's code, calling `__attach__` behind each definition that holds a hook."""
    tree = ast.parse(source, script)
    body = []
    for node in tree.body:
        body.append(node)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for path in paths:
                if path.split(".")[0] == node.name:
                    call = ast.parse(f"__attach__({path!r})").body[0]
                    body.append(ast.copy_location(call, node))
    tree.body = body
    return compile(ast.fix_missing_locations(tree), script, "exec")


def main(arguments):
    """Run the script with its hooks."""
    events, hooks_file, script = arguments[:3]
    with open(hooks_file, encoding="utf-8") as file:
        hooks = json.load(file)
    notes = Notes(events)
    own = {hook["target"].split(":")[1]: hook for hook in hooks if hook["target"].startswith("__main__:")}
    sys.meta_path.insert(0, Finder([hook for hook in hooks if not hook["target"].startswith("__main__:")], notes))
    sys.argv = [script, *arguments[3:]]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    module = types.ModuleType("__main__")
    module.__file__ = script
    sys.modules["__main__"] = module
    vars(module).update(
        __builtins__=__builtins__,
        __attach__=lambda path: attach(module, path, own[path]["role"], own[path]["target"], notes),
    )
    with open(script, encoding="utf-8") as file:
        code = with_hooks(file.read(), script, list(own))
    exec(code, module.__dict__)


if __name__ == "__main__":
    main(sys.argv[1:])
