"""Runs a command in which ptrace and process_vm_readv are refused, as Yama (ptrace_scope 1 or more) or a
strict seccomp profile refuses them to a Pod without the capability SYS_PTRACE:  no_ptrace.py COMMAND ..."""

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
REFUSED = {"x86_64": (101, 310), "aarch64": (117, 270)}[platform.machine()]


def instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


program = [instruction(LOAD_NUMBER, 0, 0, 0)]
for number in REFUSED:
    program += [
        instruction(JUMP_IF_EQUAL, 0, 1, number),
        instruction(RETURN, 0, 0, ERRNO | errno.EPERM),
    ]
program.append(instruction(RETURN, 0, 0, ALLOW))

code = ctypes.create_string_buffer(b"".join(program))
filter_program = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
    PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(filter_program), 0, 0
):
    sys.exit(f"no seccomp filter here: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
