"""Walls around a process that runs a student's code, built from within by the process itself.

Limits of time, memory, files and processes; Landlock, which leaves it its own folder to write and
Python to read; a seccomp filter, which takes away other processes and the network. Everything is
called through ctypes: nothing has to be installed, and no privileges are needed. Where a system
lacks one of them, `missing` says so.
"""

import ctypes
import os
import platform
import site
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

try:
    import resource
except ImportError as error:
    raise ImportError(
        "grading needs Linux, or at least macOS; on Windows use WSL or a container"
    ) from error

__all__ = ["Limits", "adopt_orphans", "enter", "missing", "readable"]

LIBRARY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Limits:
    """What a submission may use.

    Attributes
    ----------
    cell, call, total : float
        Seconds for one cell, for one call of a function that is tested, and for everything.
    memory : int
        Bytes that it may allocate beyond what Python and PyTorch take.
    disk : int
        Bytes that it may write to its folder.
    without : tuple of str
        Walls that are not built: "landlock", "seccomp", "memory" (for tests of the others).
    """

    cell: float = 60.0
    call: float = 20.0
    total: float = 300.0
    memory: int = 1 << 30
    disk: int = 64 << 20
    without: tuple = ()


# Numbers of the system calls on x86-64 and on 64-bit ARM; None where there is no such call.
SYSCALLS = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
}
FORBIDDEN = {
    # other processes
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "setpriority": (141, 140),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "ioprio_set": (251, 30),
    # the network, and memory that outlives a process or is not counted
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # its own walls
    "setrlimit": (160, 164), "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setgroups": (116, 159),
    "capset": (126, 91), "personality": (135, 92), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "mknod": (133, None), "mknodat": (259, 33),
    # the machine
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "sethostname": (170, 161), "setdomainname": (171, 162),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "quotactl": (179, 60), "acct": (163, 89), "iopl": (172, None),
    "ioperm": (173, None), "syslog": (103, 116), "vhangup": (153, 58),
    "fanotify_init": (300, 262),
}  # fmt: skip
# Landlock does not guard modes, owners, times and attributes of files: these calls seem to succeed
# (so that copying a file works) and do nothing.
PRETENDED = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "removexattrat": (466, 466),
}  # fmt: skip
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, audit number

EPERM, ENOSYS = 1, 38
PR_SET_PDEATHSIG, PR_GET_SECCOMP, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 21, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
READ = 1 << 2 | 1 << 3  # files, folders
WRITE_FILE = 1 << 1
SPECIAL = 1 << 6 | 1 << 9 | 1 << 11 | 1  # devices, sockets, and the right to execute


def _libc():
    return ctypes.CDLL(None, use_errno=True)


def _call(name, *arguments):
    words = (ctypes.c_long(x) if isinstance(x, int) else x for x in arguments)
    result = getattr(_libc(), name)(*words)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _landlock_version():
    """Return the version of Landlock, 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, _libc().syscall(LANDLOCK_CREATE_RULESET, None, 0, 1))


def _filters_calls():
    """Say whether system calls can be filtered here."""
    known = sys.platform == "linux" and platform.machine() in MACHINES
    return known and _libc().prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


def missing(without=()):
    """Say what this system cannot keep a submission from doing.

    Parameters
    ----------
    without : tuple of str
        Walls that are not wanted; see `Limits`.

    Returns
    -------
    list of str
        Sentences for a teacher; empty where all walls stand.

    Examples
    --------
    >>> all(isinstance(sentence, str) for sentence in missing())
    True
    """
    if sys.platform != "linux":
        return [
            "not isolated: only time is limited on this system, and a submission can read and "
            "change what you can. Use Linux or a container"
        ]
    found = []
    version = 0 if "landlock" in without else _landlock_version()
    if version == 0:
        found.append(
            "Landlock is missing (Linux 5.13 or newer has it): a submission can read your files, "
            "hidden tests included, and change them. Use a container that does not hold them"
        )
    elif version < 3:
        found.append(
            "Landlock is older than Linux 6.2: a submission can empty files that it can't read"
        )
    if "seccomp" in without or not _filters_calls():
        found.append(
            f"no system calls are filtered ({platform.machine()}): a submission can start "
            "processes, which are ended after it, and reach the network"
        )
    return found


def readable():
    """Return the folders and files that a submission may read beside its own.

    Returns
    -------
    list of Path
        Python with its packages, this library, and what they need of the system.

    Examples
    --------
    >>> Path(os.__file__).parent in readable() or Path(sys.base_prefix) in readable()
    True
    """
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    packages = [*site.getsitepackages(), site.getusersitepackages()]
    system = "/usr/lib /usr/lib64 /lib /lib64 /usr/share /etc/localtime /etc/fonts /dev/null"
    system += " /dev/zero /dev/urandom /dev/random /proc/self /proc/cpuinfo /proc/meminfo"
    system += " /sys/fs/cgroup /sys/devices/system"
    paths = [*prefixes, *packages, LIBRARY, *system.split()]
    return sorted({Path(path) for path in paths if os.path.exists(path)})


def adopt_orphans():
    """Make this process the parent of descendants whose parents end, so that it can end them."""
    if sys.platform == "linux":
        _call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def enter(folder, limits):
    """Build all walls around this process; it can't take them down again.

    Parameters
    ----------
    folder : Path
        The one that it may write to.
    limits : Limits
        What it may use.

    Raises
    ------
    OSError
        If a wall that this system has could not be built.
    """
    seconds = int(limits.total) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.disk, limits.disk))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = 256 if most == resource.RLIM_INFINITY else min(256, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if sys.platform != "linux":
        return
    if "memory" not in limits.without:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        memory = pages * resource.getpagesize() + limits.memory
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    _call("prctl", PR_SET_PDEATHSIG, 9, 0, 0, 0)
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.geteuid() == 0:
        _drop_capabilities()
    if "landlock" not in limits.without and _landlock_version():
        _landlock(folder)
    if "seccomp" not in limits.without and _filters_calls():
        _seccomp()


def _drop_capabilities():
    """Take from the superuser what other users cannot do."""
    for capability in range(64):
        _libc().prctl(PR_CAPBSET_DROP, ctypes.c_long(capability), 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("<Ii", 0x20080522, 0))
    _call("capset", header, ctypes.create_string_buffer(struct.pack("<6I", *[0] * 6)))


def _landlock(folder):
    version = _landlock_version()
    rights = (1 << (13, 14, 15, 15)[version - 1]) - 1 if version < 5 else (1 << 16) - 1
    # Later versions also guard TCP, and signals and sockets to processes outside.
    network, scope = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    attributes = ctypes.create_string_buffer(struct.pack("<3Q", rights, network, scope)[:size])
    ruleset = _call("syscall", LANDLOCK_CREATE_RULESET, attributes, size, 0)
    files = 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15  # rights that make sense for a file
    allowed = [(path, READ) for path in readable()]
    allowed += [(folder, rights & ~SPECIAL), ("/dev/null", 1 << 2 | WRITE_FILE)]
    for path, access in allowed:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        access &= rights if os.path.isdir(path) else rights & files
        rule = ctypes.create_string_buffer(struct.pack("<Qi", access, descriptor))
        _call("syscall", LANDLOCK_ADD_RULE, ruleset, 1, rule, 0)
        os.close(descriptor)
    _call("syscall", LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _seccomp():
    column, audit = MACHINES[platform.machine()]
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, fail = 0x7FFF0000, 0x80000000, 0x00050000
    nr, arch = 0, 4
    low = [
        16 + 8 * index for index in range(6)
    ]  # of the arguments; both machines are little-endian
    number = {name: numbers[column] for name, numbers in SYSCALLS.items()}
    steps = [(load, 0, 0, arch), (equal, 1, 0, audit), (give, 0, 0, kill), (load, 0, 0, nr)]
    if column == 0:  # calls of 32-bit programs on x86-64
        steps += [(at_least, 0, 1, 0x40000000), (give, 0, 0, fail | EPERM)]
    for table, result in ((FORBIDDEN, fail | EPERM), (PRETENDED, fail)):
        for numbers in table.values():
            if numbers[column] is not None:
                steps += [(equal, 0, 1, numbers[column]), (give, 0, 0, result)]
    # glibc then falls back to clone, whose flags can be seen.
    steps += [(equal, 0, 1, number["clone3"]), (give, 0, 0, fail | ENOSYS)]

    def only_if(name, argument, *tests):
        """Look at an argument; `tests` skip the failure after them if all is well."""
        inner = [(load, 0, 0, low[argument]), *tests, (give, 0, 0, fail | EPERM)]
        inner += [(give, 0, 0, allow)]
        steps.extend([(equal, 0, len(inner), number[name]), *inner])

    only_if("clone", 0, (any_bit, 1, 0, 0x10000))  # a thread
    only_if("kill", 0, (equal, 1, 0, os.getpid()))
    only_if("tgkill", 0, (equal, 1, 0, os.getpid()))
    only_if("prctl", 0, (equal, 1, 0, PR_SET_PDEATHSIG), (equal, 0, 1, PR_SET_CHILD_SUBREAPER))
    # Owners of a descriptor can be sent any signal: F_SETOWN, F_SETSIG, F_SETOWN_EX, and by ioctl.
    only_if("fcntl", 1, (equal, 2, 0, 8), (equal, 1, 0, 10), (equal, 0, 1, 15))
    only_if("ioctl", 1, (equal, 2, 0, 0x8901), (equal, 1, 0, 0x8902), (equal, 0, 1, 0x5412))
    # Limits can be read, not set: the third argument is a null pointer.
    steps += [
        (equal, 0, 6, number["prlimit64"]),
        (load, 0, 0, low[2]),
        (equal, 0, 2, 0),
        (load, 0, 0, low[2] + 4),
        (equal, 1, 0, 0),
        (give, 0, 0, fail | EPERM),
        (give, 0, 0, allow),
        (give, 0, 0, allow),
    ]
    program = b"".join(struct.pack("<HBBI", *step) for step in steps)
    code = ctypes.create_string_buffer(program)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    whole = Program(len(steps), ctypes.addressof(code))
    _call("prctl", PR_SET_SECCOMP, 2, ctypes.byref(whole), 0, 0)
