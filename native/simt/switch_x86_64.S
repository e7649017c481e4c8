// void hn_simt_switch(void** save, void* stack_pointer)
// Pushes what a function must preserve, leaves the stack pointer in *save, and returns on the other stack. The
// floating-point control words are left alone: every fiber of a thread shares them.
        .text
        .globl  hn_simt_switch
        .hidden hn_simt_switch
        .type   hn_simt_switch, @function
hn_simt_switch:
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret
        .size   hn_simt_switch, .-hn_simt_switch
        .section .note.GNU-stack,"",@progbits
