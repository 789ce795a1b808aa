/* Coroutines over ucontext. The stack is mapped, not allocated, so that untouched pages cost
 * nothing and running off its end hits the guard page. AddressSanitizer is told about every
 * switch: it otherwise takes a jump to another stack for corruption. */
#include "harness/comm/sim/coroutine.h"

#include "harness/error.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum { STACK_BYTES = 1 << 20 };

struct coroutine {
    ucontext_t context, resumer;
    void (*body)(void *);
    void *argument;
    bool ended;
    char *mapping; /* guard page, then the stack */
    size_t mapping_bytes, guard_bytes;
#ifdef __SANITIZE_ADDRESS__
    void *own_fake, *resumer_fake; /* AddressSanitizer's shadow stacks */
    const void *resumer_stack;
    size_t resumer_stack_bytes;
#endif
};

static void leave(coroutine *self, bool for_good)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(for_good ? NULL : &self->own_fake, self->resumer_stack,
                                   self->resumer_stack_bytes);
#else
    (void)for_good;
#endif
    swapcontext(&self->context, &self->resumer);
}

static void entered(coroutine *self)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(self->own_fake, &self->resumer_stack,
                                    &self->resumer_stack_bytes);
#else
    (void)self;
#endif
}

/* makecontext passes ints: the pointer comes in two halves. */
static void start(unsigned high, unsigned low)
{
    coroutine *self = (coroutine *)(((uintptr_t)high << 32) | (uintptr_t)low);
    entered(self);
    self->body(self->argument);
    self->ended = true;
    leave(self, true);
}

coroutine *coroutine_new(void (*body)(void *), void *argument)
{
    coroutine *self = alloc_or_die(1, sizeof *self);
    self->body = body;
    self->argument = argument;
    self->guard_bytes = (size_t)sysconf(_SC_PAGESIZE);
    self->mapping_bytes = self->guard_bytes + STACK_BYTES;
    self->mapping = mmap(NULL, self->mapping_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (self->mapping == MAP_FAILED || mprotect(self->mapping, self->guard_bytes, PROT_NONE) != 0) {
        fail("no address space for the stack of a virtual host: %s", strerror(errno));
        if (self->mapping == MAP_FAILED)
            self->mapping = NULL;
        coroutine_free(self);
        return NULL;
    }
    getcontext(&self->context);
    self->context.uc_stack.ss_sp = self->mapping + self->guard_bytes;
    self->context.uc_stack.ss_size = STACK_BYTES;
    uintptr_t address = (uintptr_t)self;
    makecontext(&self->context, (void (*)(void))start, 2, (unsigned)(address >> 32),
                (unsigned)(address & 0xffffffffu));
    return self;
}

void coroutine_resume(coroutine *self)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&self->resumer_fake, self->mapping + self->guard_bytes,
                                   STACK_BYTES);
#endif
    swapcontext(&self->resumer, &self->context);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(self->resumer_fake, NULL, NULL);
#endif
}

void coroutine_yield(coroutine *self)
{
    leave(self, false);
    entered(self);
}

bool coroutine_ended(const coroutine *self)
{
    return self->ended;
}

void coroutine_free(coroutine *self)
{
    if (!self)
        return;
    if (self->mapping) {
#ifdef __SANITIZE_ADDRESS__
        __asan_unpoison_memory_region(self->mapping + self->guard_bytes, STACK_BYTES);
#endif
        munmap(self->mapping, self->mapping_bytes);
    }
    free(self);
}
