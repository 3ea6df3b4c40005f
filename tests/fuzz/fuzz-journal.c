/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A journal left by a crash: it is read as a whole, or said to be unreadable. */
#include "tests/fuzz/fuzz.h"

#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io/journal.h"

static char *state;
static char *folder;
static char *file;

static void
remove_state(void)
{
    g_unlink(file);
    g_rmdir(folder);
    g_rmdir(state);
}

/* A state folder of our own, in memory where there is such a place. */
static void
make_state(void)
{
    const char *base = g_access("/dev/shm", W_OK) == 0 ? "/dev/shm" : g_get_tmp_dir();
    state = g_build_filename(base, "snapshot-set-fuzz-XXXXXX", NULL);
    g_assert(g_mkdtemp(state) != NULL);
    g_setenv("SNAPSHOT_SET_STATE_DIR", state, TRUE);
    folder = g_build_filename(state, "operations", NULL);
    file = g_build_filename(folder, "x.journal", NULL);
    g_assert(g_mkdir(folder, 0700) == 0);
    atexit(remove_state);
}

static void
check_journal(const SnapsetJournal *journal)
{
    g_assert(journal->operation != NULL && journal->lock == -1);
    g_assert(journal->phase <= SNAPSET_PHASE_FINISH);
    for (guint i = 0; i < journal->images->len; i++) {
        const SnapsetJournalImage *image = journal->images->pdata[i];
        g_assert(image->path != NULL && image->format != NULL);
        g_assert(snapset_journal_concerns(journal, image->path, 0, 0));
        for (guint j = 0; j < image->doomed->len; j++) {
            const SnapsetDoomed *doomed = image->doomed->pdata[j];
            g_assert(doomed->id != NULL && doomed->tag != NULL);
        }
        if (image->overlay != NULL) {
            g_assert(image->overlay->temporary != NULL);
            g_assert(snapset_journal_concerns(journal, image->overlay->path, 0, 0));
        }
        if (image->after != NULL)
            snapset_ledger_free(snapset_ledger_decode((SnapsetBytes){
                g_bytes_get_data(image->after, NULL), g_bytes_get_size(image->after)}));
    }
}

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(GError) error = NULL;

    if (state == NULL)
        make_state();
    g_assert(g_file_set_contents_full(file, (const char *)data, size, G_FILE_SET_CONTENTS_NONE,
                                      0600, NULL));
    g_autoptr(GPtrArray) journals = snapset_journal_scan(&error);
    g_assert((journals == NULL) == (error != NULL));
    if (journals != NULL) {
        g_assert(journals->len == 1);
        check_journal(journals->pdata[0]);
    }
    return 0;
}
