#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The guard's relay: against a scripted QEMU for what must be exact to the byte and the moment, and
# against a real one. The cases are functions in tests/guard/relay.py, faults.py and real.py.
. "$(dirname "$0")/../lib/harness.sh"
requires qemu-system-x86_64 qemu-img python3

# run_case FILE CASE: in the empty folder of this test; its guards and machines end with it
run_case() {
    export SNAPSHOT_SET_GUARD=$BUILD_DIR/libvirt-hooks/guard/snapshot-set-guard
    export FRAME_PROBE=$BUILD_DIR/tests/guard/frame-probe HMP_PROBE=$BUILD_DIR/tests/guard/hmp-probe
    export SNAPSHOT_SET_RUN_DIR=$TEST_DIR/run PYTHONDONTWRITEBYTECODE=1
    cleanup_fn end_leftovers
    TEST_TIMEOUT=60 "$PYTHON" "$TOP/tests/guard/$1.py" "$2" >case-output
    while read -r line; do
        note "$line"
    done <case-output
}

# Only what this test started: guards named in its own run folder, machines with its own folder.
end_leftovers() {
    local pid
    for pid in $(find "$SNAPSHOT_SET_RUN_DIR" -type f -name '[!.]*' 2>/dev/null | sed 's/.*-//'); do
        case $(cat "/proc/$pid/comm" 2>/dev/null) in
        snapset-*) xargs kill -KILL "$pid" <"/proc/$pid/task/$pid/children" || true ;;
        esac
    done
    for pid in $(pgrep -x qemu-system-x86); do
        [ "$(readlink "/proc/$pid/cwd")" != "$PWD" ] || kill -KILL "$pid"
    done
}

test_slow_client() { run_case relay slow_client; }
test_line_end_awaited() { run_case relay line_end_awaited; }
test_two_on_one_line() { run_case relay two_on_one_line; }
test_ids() { run_case relay ids; }
test_words() { run_case relay words; }
test_long_commands() { run_case relay long_commands; }
test_long_replies() { run_case relay long_replies; }
test_deep() { run_case relay deep; }
test_broken_stream() { run_case relay broken_stream; }
test_events_while_judging() { run_case relay events_while_judging; }
test_judge_faults() { run_case faults judge_faults; }
test_judge_ahead() { run_case faults judge_ahead; }
test_relay_killed() { run_case faults relay_killed; }
test_killed_at_random() { run_case faults killed_at_random; }
test_keeper_killed() { run_case faults keeper_killed; }
test_descriptors() { run_case faults descriptors; }
test_recording() { run_case relay recording; }
test_jobs() { run_case relay jobs; }
test_ends() { run_case faults ends; }
test_folder_removed() { run_case faults folder_removed; }
test_reconnects() { run_case faults reconnects; }
test_back_pressure() { run_case faults back_pressure; }
test_stands_alone() { run_case faults stands_alone; }
test_place() { run_case faults place; }
test_status() { run_case faults status; }
test_privileges() { run_case faults privileges; }
test_not_traceable() { run_case faults not_traceable; }
test_oom_score() { run_case faults oom_score; }

test_no_allocation() {
    [ -z "$SANITIZE" ] || skip 'the sanitizers have allocators of their own'
    export MALLOC_LOG_SO=$BUILD_DIR/tests/guard/malloc-log.so
    run_case faults no_allocation
}

# The same of all code there is, whether a test comes to it or not: of what a guard is made of,
# only the listing of the others may allocate.
test_no_allocating_function() {
    local object names='malloc|calloc|realloc\w*|str(n)?dup|asprintf|vasprintf|getline|fopen|fdopen|popen'
    names+='|opendir|fdopendir|scandir\w*|setenv|syslog|vsyslog|openlog|printf|fprintf|puts|fwrite'
    requires nm
    for object in "$BUILD_DIR"/libvirt-hooks/guard/*.p/*.o; do
        [[ $object != */@(guard-main|status-print).c.o ]] || continue
        nm -u "$object" >symbols
        expect_rc 1 grep -wE "U ($names)(64)?" symbols
    done
    [ -s symbols ] || fail 'no objects were found'
}

test_real_transparent() { run_case real transparent; }
test_real_monitor_words() { run_case real monitor_words; }
test_real_arguments() { run_case real arguments; }
test_real_same_division() { run_case real same_division; }
test_real_like_python() { run_case real like_python; }
test_real_random_through_guard() { run_case real random_through_guard; }
test_real_descriptors() { run_case real descriptors; }
test_real_snapshots() { run_case real snapshots; }
test_real_reconnects() { run_case real reconnects; }
test_real_inserted_late() { run_case real inserted_late; }
test_real_malformed() { run_case real malformed; }

test_speed() {
    [ -z "$SANITIZE" ] || skip 'measures time'
    run_case real speed
}

run_tests "$@"
