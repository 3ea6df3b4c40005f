/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest of a few hundred bytes, for what no guest at all cannot show: a multiboot kernel for
 * QEMU's "pc" machine that
 *
 * - lets go of PCI devices that are to be unplugged,
 * - answers at the guest agent's channel, the first port of a virtio-serial device:
 *   {"return": ID} to guest-sync, {"return": {"answered": N}} to the Nth other command since it
 *   began, so that a guest that was saved and restored goes on counting,
 * - powers itself off when a key is pressed.
 */
#include <stdint.h>

enum {
    PIC_MASK = 0x21,
    PIC2_MASK = 0xa1,
    TIMER_VECTOR = 8, /* where the firmware leaves the interrupt controller */
    TIMER_DATA = 0x40,
    TIMER_COMMAND = 0x43,
    TIMER_DIVISOR = 11932, /* 100 Hz */
    KEYBOARD_DATA = 0x60,
    KEYBOARD_STATUS = 0x64,
    PM1_CONTROL = 0x604,
    PM1_SOFT_OFF = 0x2000,
    HOTPLUG_DOWN = 0xae04, /* QEMU, docs/specs/acpi_pci_hotplug.rst */
    HOTPLUG_EJECT = 0xae08,
    HOTPLUG_SELECT = 0xae10,
    PCI_ADDRESS = 0xcf8,
    PCI_DATA = 0xcfc,
    PCI_COMMAND = 4,
    PCI_BUS_MASTER = 4,
    PCI_BAR0 = 0x10,
};

/* The multiboot header: magic number, flags, and what brings the sum to zero. */
__asm__(".text\n"
        ".balign 4\n"
        ".long 0x1badb002, 0, -0x1badb002\n");

static inline void
out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void
out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void
out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t
in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint16_t
in16(uint16_t port)
{
    uint16_t value;

    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint32_t
in32(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

/* ---- the clock: something that wakes the processor ---- */

static struct {
    uint16_t low, selector, flags, high;
} gates[TIMER_VECTOR + 1];

/* What the timer wakes: it only tells the interrupt controller that it was heard. */
__asm__("tick:\n"
        "    pushl %eax\n"
        "    movb $0x20, %al\n"
        "    outb %al, $0x20\n"
        "    popl %eax\n"
        "    iret\n");
void tick(void);

static void
start_clock(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) table = {sizeof gates - 1, (uint32_t)gates};
    uint32_t handler = (uint32_t)tick;
    uint16_t code;

    __asm__("mov %%cs, %0" : "=r"(code));
    gates[TIMER_VECTOR].low = handler;
    gates[TIMER_VECTOR].high = handler >> 16;
    gates[TIMER_VECTOR].selector = code;
    gates[TIMER_VECTOR].flags = 0x8e00; /* present, an interrupt gate */
    out8(PIC_MASK, 0xfe);
    out8(PIC2_MASK, 0xff);
    out8(TIMER_COMMAND, 0x34);
    out8(TIMER_DATA, TIMER_DIVISOR & 0xff);
    out8(TIMER_DATA, TIMER_DIVISOR >> 8);
    __asm__ volatile("lidt %0; sti" : : "m"(table) : "memory");
}

/* ---- virtio-serial, by its legacy interface (virtio 1.2, sections 2.7, 4.1.4.8 and 5.3) ---- */

enum {
    VIRTIO_SERIAL = 0x10031af4, /* device and vendor */
    GUEST_FEATURES = 4,
    QUEUE_ADDRESS = 8,
    QUEUE_SIZE = 12,
    QUEUE_SELECT = 14,
    QUEUE_NOTIFY = 16,
    STATUS = 18,
    STATUS_READY = 7, /* acknowledged, a driver, and that is ready */
    MULTIPORT = 2,
    CONTROL_OUT = 3, /* queues; port 1 is the first one that libvirt uses */
    PORT_IN = 4,
    PORT_OUT = 5,
    QUEUES = 6,
    PORT = 1,
    DEVICE_READY = 0,
    PORT_READY = 3,
    PORT_OPEN = 6,
    QUEUE_ROOM = 32768, /* for as many as 1,024 buffers */
    PAGE = 4096,
    DESCRIPTOR_SIZE = 16,
    FOR_DEVICE = 2, /* descriptor flag: it writes here */
};

static uint8_t rings[QUEUES][QUEUE_ROOM] __attribute__((aligned(PAGE)));
static uint16_t sizes[QUEUES], seen[QUEUES];
static uint16_t serial; /* its I/O ports; 0: there is none */
static char inbox[PAGE], outbox[PAGE];

static uint32_t
pci_address(uint32_t slot, uint32_t at)
{
    return 0x80000000 | slot << 11 | at;
}

static void
setup_queue(int queue)
{
    out16(serial + QUEUE_SELECT, queue);
    sizes[queue] = in16(serial + QUEUE_SIZE);
    out32(serial + QUEUE_ADDRESS, (uint32_t)rings[queue] / PAGE);
}

static volatile uint16_t *
available_ring(int queue)
{
    return (uint16_t *)(rings[queue] + sizes[queue] * DESCRIPTOR_SIZE);
}

static volatile uint16_t *
used_ring(int queue)
{
    uint32_t end = sizes[queue] * DESCRIPTOR_SIZE + 6 + 2 * sizes[queue];

    return (uint16_t *)(rings[queue] + (end + PAGE - 1) / PAGE * PAGE);
}

/* Give the device the only buffer of a queue. */
static void
offer(int queue, const void *bytes, uint32_t length, uint16_t flags)
{
    volatile uint32_t *descriptor = (uint32_t *)rings[queue];
    volatile uint16_t *ring = available_ring(queue);

    descriptor[0] = (uint32_t)bytes;
    descriptor[1] = 0;
    descriptor[2] = length;
    descriptor[3] = flags;
    ring[2 + ring[1] % sizes[queue]] = 0;
    ring[1]++;
    out16(serial + QUEUE_NOTIFY, queue);
}

static int
is_done(int queue)
{
    return used_ring(queue)[1] != seen[queue];
}

/* Take the buffer back; tells how many bytes the device put there. */
static uint32_t
take(int queue)
{
    volatile uint16_t *ring = used_ring(queue);
    volatile uint32_t *element = (uint32_t *)(ring + 2) + seen[queue] % sizes[queue] * 2;

    seen[queue]++;
    return element[1];
}

static void
send(int queue, const void *bytes, uint32_t length)
{
    offer(queue, bytes, length, 0);
    while (!is_done(queue))
        ;
    take(queue);
}

static void
control(uint32_t port, uint16_t event)
{
    static struct {
        uint32_t port;
        uint16_t event, value;
    } message;

    message.port = port;
    message.event = event;
    message.value = 1;
    send(CONTROL_OUT, &message, sizeof message);
}

static void
start_serial(void)
{
    for (uint32_t slot = 0; slot < 32 && serial == 0; slot++) {
        out32(PCI_ADDRESS, pci_address(slot, 0));
        if (in32(PCI_DATA) != VIRTIO_SERIAL)
            continue;
        out32(PCI_ADDRESS, pci_address(slot, PCI_COMMAND));
        out32(PCI_DATA, in32(PCI_DATA) | PCI_BUS_MASTER);
        out32(PCI_ADDRESS, pci_address(slot, PCI_BAR0));
        serial = in32(PCI_DATA) & ~3u;
    }
    if (serial == 0)
        return;
    out8(serial + STATUS, 0);
    out8(serial + STATUS, STATUS_READY & ~4);
    out32(serial + GUEST_FEATURES, MULTIPORT);
    for (int queue = 0; queue < QUEUES; queue++)
        setup_queue(queue);
    out8(serial + STATUS, STATUS_READY);
    control(-1, DEVICE_READY);
    control(PORT, PORT_READY);
    control(PORT, PORT_OPEN);
    offer(PORT_IN, inbox, sizeof inbox, FOR_DEVICE);
}

/* ---- the agent ---- */

static char line[PAGE];
static uint32_t line_length, answered;

static const char *
find(const char *text, const char *part)
{
    for (; *text; text++) {
        uint32_t length = 0;

        while (part[length] && text[length] == part[length])
            length++;
        if (!part[length])
            return text + length;
    }
    return 0;
}

static char *
put_text(char *to, const char *text)
{
    while (*text)
        *to++ = *text++;
    return to;
}

static char *
put_number(char *to, uint32_t number)
{
    if (number >= 10)
        to = put_number(to, number / 10);
    *to = '0' + number % 10;
    return to + 1;
}

static void
answer(void)
{
    const char *id = find(line, "guest-sync") ? find(line, "\"id\":") : 0;
    char *end = put_text(outbox, "{\"return\": ");

    while (id && *id == ' ')
        id++;
    for (; id && *id >= '0' && *id <= '9'; id++)
        *end++ = *id;
    if (!find(line, "guest-sync")) {
        end = put_text(end, "{\"answered\": ");
        end = put_number(end, ++answered);
        end = put_text(end, "}");
    }
    end = put_text(end, "}\n");
    send(PORT_OUT, outbox, end - outbox);
}

static void
listen(void)
{
    uint32_t length = take(PORT_IN);

    for (uint32_t i = 0; i < length; i++) {
        if (inbox[i] != '\n' && line_length < sizeof line - 1) {
            line[line_length++] = inbox[i];
            continue;
        }
        line[line_length] = '\0';
        line_length = 0;
        answer();
    }
    offer(PORT_IN, inbox, sizeof inbox, FOR_DEVICE);
}

/* ---- all of it ---- */

static int
key_pressed(void)
{
    if (!(in8(KEYBOARD_STATUS) & 1))
        return 0;
    in8(KEYBOARD_DATA);
    return 1;
}

static void
let_go_of_devices(void)
{
    uint32_t slots;

    out32(HOTPLUG_SELECT, 0);
    slots = in32(HOTPLUG_DOWN);
    if (slots)
        out32(HOTPLUG_EJECT, slots);
}

__attribute__((noreturn, used)) static void
run(void)
{
    start_clock();
    while (key_pressed())
        ; /* what the firmware left */
    start_serial();
    for (;;) {
        __asm__ volatile("hlt");
        let_go_of_devices();
        if (serial && is_done(PORT_IN))
            listen();
        if (key_pressed())
            out16(PM1_CONTROL, PM1_SOFT_OFF);
    }
}

static char stack[PAGE] __attribute__((used));
__asm__(".globl _start\n"
        "_start:\n"
        "    movl $stack + 4096, %esp\n"
        "    cld\n"
        "    movl $__bss_start, %edi\n" /* firmware may have been there */
        "    movl $_end, %ecx\n"
        "    subl %edi, %ecx\n"
        "    xorl %eax, %eax\n"
        "    rep stosb\n"
        "    jmp run\n");
