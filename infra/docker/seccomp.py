"""Writes `seccomp.json`: what a container may ask the kernel for where the sandbox service is an ordinary user.
And `seccomp-browser.json`, for the worker that starts Chromium: it needs fewer of them to set its pages apart.

    python infra/docker/seccomp.py

Everything that is not listed fails with EPERM. Docker's own default forbids what gVisor needs to set a sandbox apart
(namespaces, mounts within them, ptrace between its own processes); this list has that, and leaves out what neither
gVisor nor Python asks for: modules, BPF, keyrings, io_uring, userfaultfd, performance counters, swap, quotas, clocks.
Use it with `--security-opt seccomp=seccomp.json --cap-drop ALL --security-opt no-new-privileges`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("seccomp.json")
BROWSER = Path(__file__).with_name("seccomp-browser.json")

GROUPS = {
    "files": """
        access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
        fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr
        flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate getcwd getdents getdents64
        getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lgetxattr link
        linkat listxattr llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod mknodat
        newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead
        readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile setxattr splice stat
        statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat utime
        utimensat utimes vmsplice write writev""",
    "memory": """
        brk madvise membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap mseal msync
        munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_madvise remap_file_pages""",
    "processes": """
        arch_prctl capget capset clone clone3 execve execveat exit exit_group fork get_robust_list
        get_thread_area getcpu getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority
        getresgid getresuid getrlimit getrusage getsid gettid getuid kill pidfd_getfd pidfd_open
        pidfd_send_signal prctl prlimit64 rseq sched_get_priority_max sched_get_priority_min
        sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
        sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield set_robust_list
        set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setpgid setpriority setregid
        setresgid setresuid setreuid setrlimit setsid setuid tgkill times tkill uname vfork wait4 waitid
        getrandom sysinfo""",
    "waiting": """
        alarm clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_ctl_old
        epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 futex futex_requeue futex_wait
        futex_waitv futex_wake getitimer gettimeofday nanosleep pause poll ppoll pselect6 restart_syscall
        rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
        rt_tgsigqueueinfo select setitimer sigaltstack signalfd signalfd4 time timer_create timer_delete
        timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime""",
    "speaking": """
        accept accept4 bind connect getpeername getsockname getsockopt listen pipe pipe2 recvfrom recvmmsg
        recvmsg semctl semget semop semtimedop sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget
        shutdown socketpair""",
    # namespaces, the mounts and the root inside them, the registers and memory of its own processes
    "setting apart": """
        chroot mount pivot_root process_vm_readv process_vm_writev ptrace seccomp setdomainname sethostname
        setns umount2 unshare""",
}
APART_IN_A_BROWSER = "chroot seccomp unshare"
FAMILIES = (
    1,
    2,
    10,
    16,
)  # Unix, IPv4, IPv6, netlink; not packets, the kernel's ciphers or a virtual machine's host
ORDINARY_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def _rule(*names: str, **more: Any) -> dict[str, Any]:
    return {"names": sorted(names), "action": "SCMP_ACT_ALLOW", **more}


def _rules(name: str, values: tuple[int, ...], comment: str) -> list[dict[str, Any]]:
    """One for each value of the first argument: comparisons within one rule are not understood alike everywhere."""
    compared = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in values]
    return [_rule(name, args=[each], comment=comment) for each in compared]


def profile(apart: str = GROUPS["setting apart"]) -> dict[str, Any]:
    """The profile in the form that Docker, Podman and containerd read."""
    groups = {**GROUPS, "setting apart": apart}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
        ],
        "syscalls": [
            *(_rule(*names.split(), comment=comment) for comment, names in groups.items()),
            *_rules("socket", FAMILIES, "speaking"),
            *_rules("personality", ORDINARY_PERSONALITIES, "processes"),
        ],
    }


def text(target: Path = TARGET) -> str:
    listed = profile(APART_IN_A_BROWSER) if target == BROWSER else profile()
    return json.dumps(listed, indent=1) + "\n"


if __name__ == "__main__":
    for target in (TARGET, BROWSER):
        target.write_text(text(target))
        sys.stdout.write(f"{target}\n")
