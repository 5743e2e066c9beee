/* seccomp.c - a table of system calls as a program for the kernel's packet filter. */
#include "schema/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#define X32_BIT 0x40000000u /* x86-64's second set of numbers */
#define RULE_STEPS 6
#define STEPS_MAX 1024
#define NAMESPACES                                                                                \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
     CLONE_NEWNET)

static const struct seccomp_rule denied[] = {
#define DENIED(name) SECCOMP_CALL(name),
#include "schema/denied.def"
#undef DENIED
    {.call = SYS_clone, .when = SECCOMP_DIFFER, .arg = 0, .mask = NAMESPACES, .value = 0},
};

struct program {
    struct sock_filter step[STEPS_MAX];
    unsigned short n;
};

static void add(struct program *p, uint16_t code, uint32_t k, uint8_t when_true, uint8_t when_false)
{
    p->step[p->n++] = (struct sock_filter){.code = code, .jt = when_true, .jf = when_false, .k = k};
}

static void load(struct program *p, size_t offset)
{
    add(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void end(struct program *p, uint32_t verdict)
{
    add(p, BPF_RET | BPF_K, verdict, 0, 0);
}

/* verdict for this call, and on to the next step otherwise: the call's number is loaded at both. */
static void add_rule(struct program *p, const struct seccomp_rule *r, uint32_t verdict)
{
    if (r->when == SECCOMP_ALWAYS) {
        add(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r->call, 0, 1);
        end(p, verdict);
        return;
    }
    add(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r->call, 0, RULE_STEPS - 1);
    load(p, offsetof(struct seccomp_data, args) + sizeof(uint64_t) * (unsigned)r->arg);
    add(p, BPF_ALU | BPF_AND | BPF_K, r->mask, 0, 0);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, r->value, r->when == SECCOMP_DIFFER,
        r->when == SECCOMP_EQUAL);
    end(p, verdict);
    load(p, offsetof(struct seccomp_data, nr));
}

#ifdef ARCHITECTURE
static void begin(struct program *p)
{
    load(p, offsetof(struct seccomp_data, arch));
    add(p, BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
    end(p, SECCOMP_RET_KILL_PROCESS);
    load(p, offsetof(struct seccomp_data, nr));
    add(p, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
    end(p, SECCOMP_RET_ERRNO | EPERM);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
    end(p, SECCOMP_RET_ERRNO | ENOSYS);
}
#endif

static int install(bool allow, const struct seccomp_rule *rules, size_t n, struct err *e)
{
#ifdef ARCHITECTURE
    const size_t n_denied = allow ? 0 : sizeof denied / sizeof denied[0];
    const uint32_t refuse = SECCOMP_RET_ERRNO | EPERM;
    struct program p = {.n = 0};
    struct sock_fprog program = {.filter = p.step};

    if ((n + n_denied + 3) * RULE_STEPS > STEPS_MAX)
        return err_set(e, ERR_internal, "%zu rules are too many for a filter of calls", n);
    begin(&p);
    for (size_t i = 0; i < n_denied; i++)
        add_rule(&p, &denied[i], refuse);
    for (size_t i = 0; i < n; i++)
        add_rule(&p, &rules[i], allow ? SECCOMP_RET_ALLOW : refuse);
    end(&p, allow ? refuse : SECCOMP_RET_ALLOW);
    program.len = p.n;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        return err_sys(e, ERR_internal, errno, "a filter of system calls");
    return 0;
#else
    (void)allow;
    (void)rules;
    (void)n;
    return err_set(e, ERR_internal, "a filter of system calls: not for this architecture");
#endif
}

int seccomp_allow(const struct seccomp_rule *rules, size_t n, struct err *e)
{
    return install(true, rules, n, e);
}

int seccomp_deny(const struct seccomp_rule *rules, size_t n, struct err *e)
{
    return install(false, rules, n, e);
}
