"""The process that runs one program of a model: it confines itself, runs it, and says how it went.

Started as a script by `sandbox`, with nothing but the standard library in it. The kernel enforces
what is given up here, so that no trick inside the interpreter gets it back. x86-64 and aarch64 have
the same rules.
"""

from __future__ import annotations

import builtins
import ctypes
import json
import os
import platform
import resource
import struct
import sys
import types
from typing import Any

# --- system calls that a program may not make, by number on x86-64 and aarch64 (0: none there)

# Starting processes, and any call into others.
_PROCESSES = (
    *((57, 0), (58, 0), (59, 221), (322, 281)),  # fork, vfork, execve, execveat
    *((62, 129), (200, 130), (234, 131)),  # kill, tkill, tgkill
    *((129, 138), (297, 240)),  # rt_sigqueueinfo, rt_tgsigqueueinfo
    *((434, 434), (424, 424), (438, 438)),  # pidfd_open, pidfd_send_signal, pidfd_getfd
    *((101, 117), (310, 270), (311, 271)),  # ptrace, process_vm_readv, process_vm_writev
    *((440, 440), (279, 239), (256, 238)),  # process_madvise, move_pages, migrate_pages
    *((302, 261), (160, 164)),  # prlimit64, setrlimit
    *((141, 140), (251, 30), (203, 122)),  # setpriority, ioprio_set, sched_setaffinity
    *((144, 119), (142, 118), (314, 274)),  # sched_setscheduler, sched_setparam, sched_setattr
    *((272, 97), (308, 268)),  # unshare, setns
)
# Sockets; io_uring makes them too. A pair of connected ones leads nowhere and is left.
_NETWORK = ((41, 198), (425, 425))  # socket, io_uring_setup
# What outlives a process or changes files without writing into them.
_LASTING = (
    *((29, 194), (68, 186), (64, 190)),  # shmget, msgget, semget
    *((240, 180), (241, 181), (319, 279)),  # mq_open, mq_unlink, memfd_create
    *((250, 219), (248, 217), (249, 218)),  # keyctl, add_key, request_key
    *((90, 0), (91, 52), (268, 53), (452, 452)),  # chmod, fchmod, fchmodat, fchmodat2
    *((92, 0), (93, 55), (94, 0), (260, 54)),  # chown, fchown, lchown, fchownat
    *((188, 5), (189, 6), (190, 7), (463, 463)),  # setxattr, lsetxattr, fsetxattr, setxattrat
    *((197, 14), (198, 15), (199, 16), (466, 466)),  # the four of removexattr
    *((132, 0), (235, 0), (261, 0), (280, 88)),  # utime, utimes, futimesat, utimensat
    (76, 45),  # truncate
)
_CLONE, _CLONE3 = (56, 220), (435, 435)
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH_…

_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x10000

# --- Berkeley packet filter, as <linux/filter.h> and <linux/seccomp.h> have it

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in what a filter sees
_X32 = 0x40000000  # a second set of numbers on x86-64


class Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def filter_code(column: int, architecture: int) -> bytes:
    """The filter: everything is allowed but what is listed, and threads but not processes.

    Args:
        column: of the tables above.
        architecture: AUDIT_ARCH_…; a call by the numbers of another one kills.
    """
    deny = (_RETURN, 0, 0, _ERRNO | _EPERM)
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        deny,
        # The flags of clone3 are behind a pointer; told that there is none, libc takes clone.
        (_EQUAL, 0, 1, _CLONE3[column]),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
    ]
    for numbers in (*_PROCESSES, *_NETWORK, *_LASTING):
        if numbers[column]:
            code += [(_EQUAL, 0, 1, numbers[column]), deny]
    code += [
        (_EQUAL, 0, 3, _CLONE[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        deny,
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


# --- giving up rights

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION = 0x20080522
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_VERSION = 1
_WRITING = 1 << 1 | sum(1 << right for right in range(4, 13))  # LANDLOCK_ACCESS_FS_…
_REFER, _TRUNCATE = 1 << 13, 1 << 14  # from versions 2 and 3 on


def confine(limits: dict[str, int]) -> list[str]:
    """Give up every right that a program does not need.

    Args:
        limits: by the names of resource limits, without RLIMIT_.
    Returns: what could not be denied, of "memory", "files", "processes", "network".
    """
    cpu = limits.pop("CPU")
    lowered = [lower(name, value) for name, value in limits.items()]
    # At the first limit a signal tells what ended the process, at the second nothing can be done.
    lowered.append(lower("CPU", cpu, cpu + 1))
    loose = [] if all(lowered) else ["memory"]
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None:
        control(libc, _PR_SET_PDEATHSIG, 9)  # nobody waits for us once tinychat is gone
        drop_capabilities(libc)
        control(libc, _PR_SET_NO_NEW_PRIVS, 1)
    if libc is None or not deny_writing(libc):
        loose.append("files")
    if libc is None or not deny_calls(libc):
        # The superuser has no such limit.
        if not lower("NPROC", 0) or os.geteuid() == 0:
            loose.append("processes")
        loose.append("network")
    return loose


def lower(name: str, soft: int, hard: int | None = None) -> bool:
    """Lower a resource limit for good; whether the system lets us."""
    which = getattr(resource, f"RLIMIT_{name}")
    most = soft if hard is None else hard
    highest = resource.getrlimit(which)[1]
    if highest != resource.RLIM_INFINITY:
        most = min(most, highest)
    try:
        resource.setrlimit(which, (min(soft, most), most))
    except (OSError, ValueError):
        return False
    return True


def control(libc: ctypes.CDLL, option: int, value: int, pointer: Any = None) -> bool:
    """prctl; whether it worked."""
    zero = ctypes.c_ulong(0)
    return not libc.prctl(option, ctypes.c_ulong(value), pointer or zero, zero, zero)


def drop_capabilities(libc: ctypes.CDLL) -> None:
    """Be nobody special, where the superuser runs this. Needs no other process: none is started."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())


def deny_writing(libc: ctypes.CDLL) -> bool:
    """Deny every change to files and folders by Landlock; whether the kernel has it."""

    def call(number: int, *arguments: Any) -> int:
        return int(libc.syscall(ctypes.c_long(number), *arguments))

    none, zero = ctypes.c_void_p(None), ctypes.c_ulong(0)
    version = call(_LANDLOCK_CREATE_RULESET, none, zero, ctypes.c_uint(_LANDLOCK_VERSION))
    if version < 1:
        return False
    rights = _WRITING | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    handled = ctypes.c_uint64(rights)
    size = ctypes.c_ulong(ctypes.sizeof(handled))
    rules = call(_LANDLOCK_CREATE_RULESET, ctypes.byref(handled), size, ctypes.c_uint(0))
    if rules < 0:
        return False
    denied = call(_LANDLOCK_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint(0)) == 0
    os.close(rules)
    return denied


def deny_calls(libc: ctypes.CDLL) -> bool:
    """Deny the system calls of the tables above; whether the kernel and this machine have that."""
    if platform.machine() not in _MACHINES:
        return False
    code = filter_code(*_MACHINES[platform.machine()])
    program = Filter(len(code) // 8, code)
    return control(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program))


# --- the program


def run(code: str, setup: str, tests: list[str]) -> str | None:
    """Run a program and its tests; the name of the exception that ended it, None where all pass."""
    answer = types.ModuleType("answer")  # dataclasses and others look a class's module up
    sys.modules["answer"] = answer
    space = answer.__dict__
    # What the program could put something else in place of is taken before it runs.
    execute, untouched, names = exec, dict(vars(builtins)), vars(builtins)
    try:
        asserts = [compile(test, "<test>", "exec") for test in tests]
        for part in (code, setup):
            execute(compile(part, "<answer>", "exec"), space)
        for test in asserts:
            names.update(untouched)
            execute(test, space)
    except BaseException as error:  # SystemExit too: whoever leaves early has not passed
        return type(error).__name__
    return None


def main() -> None:
    """Read a request on standard input, answer with one line on standard output.

    The request is {"code", "setup", "tests", "nonce", "limits"}. The line has the nonce, which the
    program is not told; what could not be denied, or "-"; "passed", or "failed" and a name.
    """
    request = json.loads(sys.stdin.buffer.read())
    line = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    del sys.path[0]  # the folder of this file
    sys.argv = ["answer"]
    loose = ",".join(confine(request["limits"])) or "-"
    front = f"{request.pop('nonce')} {loose} ".encode()
    write, leave = os.write, os._exit
    name = run(request["code"], request["setup"], request["tests"])
    end = b"passed" if name is None else b"failed " + name.encode("ascii", "replace")
    write(line, front + end + b"\n")
    leave(0)  # at once: what the program left to run at the end is not ours to wait for


if __name__ == "__main__":
    main()
