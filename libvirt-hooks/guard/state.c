/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See state.h. */
#include "libvirt-hooks/guard/state.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "libvirt-hooks/guard/watch.h"

SnapsetRegion *
snapset_region_new(void)
{
    SnapsetRegion *region =
        mmap(NULL, sizeof *region, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct timespec now;

    if (region == MAP_FAILED)
        return NULL;
    clock_gettime(CLOCK_REALTIME, &now);
    region->born = now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
    snapset_region_reset(region);
    return region;
}

void
snapset_region_reset(SnapsetRegion *region)
{
    SnapsetState *state = snapset_region_begin(region), fresh = {0};

    fresh.seq = state->seq;
    fresh.events = state->events;
    memcpy(fresh.jobs, state->jobs, sizeof fresh.jobs);
    for (int i = 0; i < SNAPSET_JOBS; i++) {
        SnapsetJob *job = &fresh.jobs[i];
        bool running = job->state != SNAPSET_JOB_FREE && job->flags & SNAPSET_WATCH_JOB;

        /* its beginning or end may have been told while nobody listened */
        job->state = running ? SNAPSET_JOB_ENDED : SNAPSET_JOB_FREE;
    }
    fresh.owed = 1;
    fresh.line_end = true;
    fresh.recording = -1;
    *state = fresh;
    region->op.kind = SNAPSET_OP_NONE;
    snapset_region_commit(region);
}

SnapsetState *
snapset_region_begin(SnapsetRegion *region)
{
    SnapsetState *spare = &region->state[!region->current];

    *spare = region->state[region->current];
    return spare;
}

void
snapset_region_commit(SnapsetRegion *region)
{
    uint32_t spare = !region->current;

    region->state[spare].seq++;
    atomic_store(&region->current, spare);
}
