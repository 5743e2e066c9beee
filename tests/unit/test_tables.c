/* test_tables.c - dtypes, states, errors: the rules their rows keep. */
#include "tests/unit/unit.h"

#include "schema/clock.h"
#include "schema/dtype.h"
#include "schema/error.h"
#include "schema/state.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static void a_dtype_is_found_by_every_name_people_write(void **state)
{
    static const struct {
        const char *text;
        enum dtype want;
    } rows[] = {{"float32", DTYPE_float32},
                {"f32", DTYPE_float32},
                {"<f4", DTYPE_float32},
                {"FP32", DTYPE_float32},
                {"torch.float32", DTYPE_float32},
                {"bf16", DTYPE_bfloat16},
                {"torch.bfloat16", DTYPE_bfloat16},
                {"half", DTYPE_float16},
                {"|b1", DTYPE_bool},
                {"long", DTYPE_int64},
                {"u8", DTYPE_uint8}};
    enum dtype d;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(dtype_find(rows[i].text, strlen(rows[i].text), &d), 0);
        assert_int_equal(d, rows[i].want);
    }
    for (int i = 0; i < DTYPE_COUNT; i++) {
        assert_int_equal(dtype_find(dtypes[i].name, strlen(dtypes[i].name), &d), 0);
        assert_int_equal(d, i);
        assert_non_null(strstr(dtype_names(), dtypes[i].name));
    }
    assert_int_equal(dtype_find("f4", 2, &d), -1); /* no byte order: NumPy's, not ours */
    assert_int_equal(dtype_find("float8", 6, &d), -1);
    assert_int_equal(dtype_find("", 0, &d), -1);
    assert_int_equal(dtype_find("torch.", 6, &d), -1);
}

static void no_alias_means_two_dtypes(void **state)
{
    (void)state;
    for (int i = 0; i < DTYPE_COUNT; i++) {
        char copy[128], *save = NULL;

        snprintf(copy, sizeof copy, "%s", dtypes[i].aliases);
        for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
            enum dtype d;

            assert_int_equal(dtype_find(word, strlen(word), &d), 0);
            assert_int_equal(d, i);
        }
    }
}

static void a_finished_job_moves_nowhere(void **state)
{
    (void)state;
    for (int from = 0; from < JOB_STATE_COUNT; from++)
        for (int to = 0; to < JOB_STATE_COUNT; to++)
            if (job_state_terminal((enum job_state)from))
                assert_false(job_state_may((enum job_state)from, (enum job_state)to));
    assert_true(job_state_may(JOB_running, JOB_queued));
    assert_true(job_state_may(JOB_queued, JOB_running));
    assert_false(job_state_may(JOB_queued, JOB_succeeded));
    assert_false(job_state_may(JOB_waiting, JOB_running));
}

static void every_job_state_can_be_reached_and_left_or_is_terminal(void **state)
{
    (void)state;
    for (int s = 0; s < JOB_STATE_COUNT; s++) {
        enum job_state found;
        const char *name = job_state_name((enum job_state)s);
        int reached = s == JOB_waiting;

        for (int from = 0; from < JOB_STATE_COUNT; from++)
            reached |= job_state_may((enum job_state)from, (enum job_state)s);
        assert_true(reached);
        assert_int_equal(job_state_find(name, strlen(name), &found), 0);
        assert_int_equal(found, s);
    }
}

static void a_worker_that_stops_is_only_absent_after(void **state)
{
    (void)state;
    for (int to = 0; to < WORKER_STATE_COUNT; to++)
        assert_int_equal(worker_state_may(WORKER_stopping, (enum worker_state)to),
                         to == WORKER_absent);
    assert_string_equal(worker_state_name(WORKER_busy), "busy");
}

static void every_error_has_a_title_and_an_http_status(void **state)
{
    (void)state;
    for (int c = ERR_none + 1; c < ERR_COUNT; c++) {
        int status = err_status((enum err_code)c);

        assert_true(status >= 400 && status < 600);
        assert_true(isupper((unsigned char)err_title((enum err_code)c)[0]));
        assert_int_equal(err_find(err_name((enum err_code)c)), c);
    }
    assert_int_equal(err_find("of_a_newer_build"), ERR_internal);
}

static void a_detail_holds_no_control_characters(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(err_set(&e, ERR_bad_json, "a\r\nb\x1b[31m%s", "\x7f"), -1);
    assert_string_equal(e.detail, "a??b?[31m?");
}

static void a_detail_that_is_cut_stays_utf8(void **state)
{
    struct err e;
    char text[700];

    (void)state;
    for (size_t shift = 0; shift < 3; shift++) {
        size_t len;

        memset(text, 'x', shift);
        for (size_t i = 0; i < 200; i++)
            memcpy(text + shift + 3 * i, "\xe2\x82\xac", 3); /* the euro sign */
        text[shift + 600] = '\0';
        err_set(&e, ERR_internal, "%s", text);
        len = strlen(e.detail);
        assert_int_equal((len - shift) % 3, 0);
        assert_true(len > 500);
    }
}

static void context_goes_before_the_detail(void **state)
{
    struct err e;

    (void)state;
    err_set(&e, ERR_npy_header, "no shape");
    err_context(&e, "input %d", 3);
    assert_string_equal(e.detail, "input 3: no shape");
    assert_int_equal(e.code, ERR_npy_header);
}

static void ranks_beyond_the_list_are_dropped(void **state)
{
    struct err e;

    (void)state;
    err_set(&e, ERR_inputs_differ, "x");
    for (uint32_t r = 0; r < ERR_RANKS + 5; r++)
        err_rank(&e, r);
    assert_int_equal(e.n_ranks, ERR_RANKS);
    assert_int_equal(e.ranks[ERR_RANKS - 1], ERR_RANKS - 1);
}

static void a_time_reads_as_rfc_3339(void **state)
{
    char text[CLOCK_TEXT];

    (void)state;
    assert_string_equal(clock_format(1763942400123456u, text), "2025-11-24T00:00:00.123456Z");
    assert_string_equal(clock_format(0, text), "1970-01-01T00:00:00.000000Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dtype_is_found_by_every_name_people_write),
        cmocka_unit_test(no_alias_means_two_dtypes),
        cmocka_unit_test(a_finished_job_moves_nowhere),
        cmocka_unit_test(every_job_state_can_be_reached_and_left_or_is_terminal),
        cmocka_unit_test(a_worker_that_stops_is_only_absent_after),
        cmocka_unit_test(every_error_has_a_title_and_an_http_status),
        cmocka_unit_test(a_detail_holds_no_control_characters),
        cmocka_unit_test(a_detail_that_is_cut_stays_utf8),
        cmocka_unit_test(context_goes_before_the_detail),
        cmocka_unit_test(ranks_beyond_the_list_are_dropped),
        cmocka_unit_test(a_time_reads_as_rfc_3339),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
