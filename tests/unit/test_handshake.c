/* test_handshake.c - a proof holds for one text, one challenge, one direction and one token. */
#include "tests/unit/unit.h"

#include "schema/log.h"
#include "server/proof.h"
#include "server/tokens.h"
#include "worker/proof.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], tokens[96], file[96];
static struct token_key key;
static struct frame auth, other; /* tens of KiB each */
static uint8_t nonce[HANDSHAKE_BYTES], answer[HANDSHAKE_BYTES], wire[LIMIT_FRAME_BYTES];

static void write_file(const char *text)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void make_token(const char *who, struct token_key *out)
{
    char text[TOKEN_TEXT_BYTES];
    struct err e;

    assert_int_equal(tokens_add(tokens, who, text, &e), 0);
    strcat(text, "\n");
    write_file(text);
    assert_int_equal(token_key_read(out, file, &e), 0);
    assert_int_equal(tokens_load(tokens, 1 << 20, &e), 0);
}

static void make_auth(void)
{
    struct err e;

    memset(&other, 0, sizeof other);
    other.type = FRAME_hello;
    other.hello.rank = 3;
    strcpy(other.hello.host, "there");
    memset(&auth, 0, sizeof auth);
    auth.type = FRAME_auth;
    auth.auth.schema_hash = schema_hash();
    strcpy(auth.auth.version, "9.9");
    auth.auth.n_hello = (uint32_t)frame_encode(&other, auth.auth.hello, sizeof auth.auth.hello);
    assert_true(auth.auth.n_hello > 0);
    assert_int_equal(proof_nonce(nonce, &e), 0);
    assert_int_equal(auth_sign(&auth, &key, nonce, &e), 0);
}

static int set_up(void **state)
{
    (void)state;
    log_init("test", LOG_error, false);
    strcpy(dir, "/tmp/tutti-handshake-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(tokens, sizeof tokens, "%s/tokens", dir);
    snprintf(file, sizeof file, "%s/token", dir);
    make_token("w:worker", &key);
    make_auth();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tokens_fini();
    unlink(tokens);
    unlink(file);
    return rmdir(dir);
}

static void both_ends_prove_that_they_know_the_secret(void **state)
{
    struct frame_proof proof = {.n_proof = HANDSHAKE_BYTES};
    size_t len = frame_encode(&auth, wire, sizeof wire);
    struct err e;

    (void)state;
    assert_true(len > 0 && len <= LIMIT_AUTH_BYTES);
    assert_int_equal(frame_decode(wire, len, &other, &e), (long)len);
    assert_true(proof_check(&other, nonce, answer));
    memcpy(proof.proof, answer, sizeof answer);
    assert_true(server_proves(&proof, &auth, &key, nonce));
}

/* Whichever byte a man in between alters: HELLO, the name, the versions, the nonce, the proof. */
static void every_altered_byte_is_refused(void **state)
{
    size_t len = frame_encode(&auth, wire, sizeof wire);
    struct err e;

    (void)state;
    for (size_t at = 0; at < len; at++) {
        for (int bit = 0; bit < 8; bit += 7) {
            wire[at] ^= (uint8_t)(1 << bit);
            if (frame_decode(wire, len, &other, &e) > 0 && other.type == FRAME_auth &&
                proof_check(&other, nonce, answer))
                fail_msg("byte %zu of AUTH may be altered", at);
            wire[at] ^= (uint8_t)(1 << bit);
        }
    }
    assert_int_equal(frame_decode(wire, len, &other, &e), (long)len);
    assert_true(proof_check(&other, nonce, answer)); /* it is the bytes that count */
}

static void a_proof_is_worth_nothing_for_another_challenge(void **state)
{
    uint8_t again[HANDSHAKE_BYTES];
    struct err e;

    (void)state;
    assert_int_equal(proof_nonce(again, &e), 0);
    assert_memory_not_equal(again, nonce, sizeof nonce);
    assert_false(proof_check(&auth, again, answer));
}

static void a_proof_is_worth_nothing_in_the_other_direction(void **state)
{
    struct frame_proof proof = {.n_proof = HANDSHAKE_BYTES};

    (void)state;
    memcpy(proof.proof, auth.auth.proof, sizeof proof.proof);
    assert_false(server_proves(&proof, &auth, &key, nonce));
    assert_true(proof_check(&auth, nonce, answer));
    memcpy(auth.auth.proof, answer, sizeof answer);
    assert_false(proof_check(&auth, nonce, answer));
}

static void a_servers_proof_that_is_altered_or_cut_is_none(void **state)
{
    struct frame_proof proof = {.n_proof = HANDSHAKE_BYTES};

    (void)state;
    assert_true(proof_check(&auth, nonce, answer));
    memcpy(proof.proof, answer, sizeof answer);
    for (size_t at = 0; at < sizeof proof.proof; at++) {
        proof.proof[at] ^= 1;
        assert_false(server_proves(&proof, &auth, &key, nonce));
        proof.proof[at] ^= 1;
    }
    proof.n_proof = 0;
    assert_false(server_proves(&proof, &auth, &key, nonce));
    auth.auth.n_proof = 0;
    assert_false(proof_check(&auth, nonce, answer));
}

static void only_a_workers_token_of_that_name_opens(void **state)
{
    struct token_key second, reader;
    struct err e;

    (void)state;
    make_token("w:worker", &second); /* the same name's second token is good, too */
    make_token("r:read", &reader);
    assert_int_equal(auth_sign(&auth, &second, nonce, &e), 0);
    assert_true(proof_check(&auth, nonce, answer));
    assert_int_equal(auth_sign(&auth, &reader, nonce, &e), 0);
    assert_false(proof_check(&auth, nonce, answer));
    strcpy(second.name, "nobody");
    assert_int_equal(auth_sign(&auth, &second, nonce, &e), 0);
    assert_false(proof_check(&auth, nonce, answer));
}

static void a_token_file_is_its_owners_alone_and_holds_a_token(void **state)
{
    static const char *const bad[] = {
        "", "w\n", ".secret\n", "w.\n", "a-name-of-more-than-thirty-two-bytes.secret\n",
    };
    struct token_key read;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file(bad[i]);
        assert_int_equal(token_key_read(&read, file, &e), -1);
        assert_int_equal(e.code, ERR_option);
    }
    write_file("  w.secret \n");
    assert_int_equal(token_key_read(&read, file, &e), 0);
    assert_string_equal(read.name, "w");
    assert_int_equal(chmod(file, 0640), 0);
    assert_int_equal(token_key_read(&read, file, &e), -1);
    assert_non_null(strstr(e.detail, "chmod 600"));
    assert_int_equal(unlink(file), 0);
    assert_int_equal(token_key_read(&read, file, &e), -1);
    assert_non_null(strstr(e.detail, file));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(both_ends_prove_that_they_know_the_secret),
        TEST(every_altered_byte_is_refused),
        TEST(a_proof_is_worth_nothing_for_another_challenge),
        TEST(a_proof_is_worth_nothing_in_the_other_direction),
        TEST(a_servers_proof_that_is_altered_or_cut_is_none),
        TEST(only_a_workers_token_of_that_name_opens),
        TEST(a_token_file_is_its_owners_alone_and_holds_a_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
