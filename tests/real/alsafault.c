/* A healthy ALSA device that fails on demand, as real hardware does: for LD_PRELOAD, between PortAudio and libasound.
 *
 *     cc -shared -fPIC -O2 -o alsafault.so alsafault.c -ldl
 *     LD_PRELOAD=./alsafault.so ALSAFAULT=/tmp/fault earshot run
 *
 * The first byte of the file named by ALSAFAULT is the fault of this moment; write it in place, never truncate:
 *     -  none
 *     u  unplugged: poll() says POLLERR | POLLNVAL and every call -ENODEV, as after pulling out a USB card
 *     x  one overrun: poll() says POLLERR and the state is XRUN; then the byte is set back to -
 *     b  busy: each device may be opened for a look, when PortAudio lists it, and not again (-EBUSY)
 * With ALSAFAULT_RATES=44100,48000 every device has these rates only.
 *
 * It needs no headers of ALSA: its types are opaque here, but for the numbers below, which are part of its binary
 * interface (include/pcm.h of alsa-lib).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { STREAM_CAPTURE = 1, STATE_XRUN = 4, STATE_DISCONNECTED = 8, MOST_DEVICES = 32 };

typedef struct pcm pcm;
typedef struct hw_params hw_params;
typedef struct status status;

/* The byte, shared with whoever writes the file. */
static volatile char *fault(void)
{
    static char none = '-';
    static volatile char *byte;
    if (!byte) {
        const char *path = getenv("ALSAFAULT");
        int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        byte = mapped == MAP_FAILED ? &none : mapped;
    }
    return byte;
}

static int unplugged(void) { return *fault() == 'u'; }

/* libasound's own function. Not RTLD_NEXT: Python loads PortAudio, and libasound with it, with RTLD_LOCAL. */
static void *original(const char *name)
{
    static void *library;
    if (!library) library = dlopen("libasound.so.2", RTLD_LAZY);
    return library ? dlsym(library, name) : NULL;
}

#define CALL(type, name, arguments, values) \
    static type (*real) arguments; \
    if (!real) real = (type (*) arguments)original(#name); \
    return real values

/* --- Opening --- */

static int looked_at(const char *name)
{
    static char *seen[MOST_DEVICES];
    for (int i = 0; i < MOST_DEVICES; i++) {
        if (!seen[i]) {
            seen[i] = strdup(name);
            return 0;
        }
        if (!strcmp(seen[i], name)) return 1;
    }
    return 1;
}

int snd_pcm_open(pcm **handle, const char *name, int stream, int mode)
{
    if (unplugged()) return -ENODEV;
    if (*fault() == 'b' && stream == STREAM_CAPTURE && looked_at(name)) return -EBUSY;
    CALL(int, snd_pcm_open, (pcm **, const char *, int, int), (handle, name, stream, mode));
}

/* A device answers with the rate nearest to what it was asked for, and PortAudio compares. */
int snd_pcm_hw_params_set_rate_near(pcm *handle, hw_params *params, unsigned *rate, int *direction)
{
    const char *list = getenv("ALSAFAULT_RATES");
    long best = 0;
    while (list && *list) {
        char *end;
        long offered = strtol(list, &end, 10);
        if (!best || labs(offered - (long)*rate) < labs(best - (long)*rate)) best = offered;
        list = *end ? end + 1 : end;
    }
    if (best) *rate = (unsigned)best;
    CALL(int, snd_pcm_hw_params_set_rate_near, (pcm *, hw_params *, unsigned *, int *), (handle, params, rate, direction));
}

/* --- Pulled out --- */

#define GONE(type, name, answer) \
    type name(pcm *handle) \
    { \
        if (unplugged()) return answer; \
        CALL(type, name, (pcm *), (handle)); \
    }

GONE(int, snd_pcm_prepare, -ENODEV)
GONE(int, snd_pcm_start, -ENODEV)
GONE(long, snd_pcm_avail_update, -ENODEV)
GONE(int, snd_pcm_state, STATE_DISCONNECTED)

int snd_pcm_status(pcm *handle, status *into)
{
    if (unplugged()) return -ENODEV;
    CALL(int, snd_pcm_status, (pcm *, status *), (handle, into));
}

/* --- Overrun: poll() complains, the status says why, and the device has to be restarted --- */

static enum { NONE, POLLED, SEEN } overrun;

int snd_pcm_poll_descriptors_revents(pcm *handle, struct pollfd *descriptors, unsigned n, unsigned short *events)
{
    if (unplugged()) {
        *events = POLLERR | POLLNVAL;
        return 0;
    }
    if (*fault() == 'x') {
        *fault() = '-';
        overrun = POLLED;
        *events = POLLERR;
        return 0;
    }
    CALL(int, snd_pcm_poll_descriptors_revents, (pcm *, struct pollfd *, unsigned, unsigned short *),
         (handle, descriptors, n, events));
}

int snd_pcm_status_get_state(const status *of)
{
    if (overrun == POLLED) {
        overrun = SEEN;
        return STATE_XRUN;
    }
    CALL(int, snd_pcm_status_get_state, (const status *), (of));
}

/* Refused once: then PortAudio restarts the device by itself, as it does with a card that is mapped into memory. */
int snd_pcm_recover(pcm *handle, int error, int silent)
{
    if (overrun == SEEN) {
        overrun = NONE;
        return error;
    }
    CALL(int, snd_pcm_recover, (pcm *, int, int), (handle, error, silent));
}
