#!/bin/sh
# A path that is not there is a 404 without normalising; a method it does not take is a 405 that lists those it does.
. "$(dirname "$0")/lib.sh"
start_server

for path in /v1/nope /v1/jobs/ //v1 /v1/../v1/jobs /V1 /v1/jobs/x/y/z; do
    get "$path"
    expect_problem 404 not_found
done
get /v1/job/j_nothing
expect_in 'did you mean /v1/jobs/{id}?'
get /v1/jobs/j_nothing
expect_problem 404 job_unknown
get /v1/tensors/t_01JDDB5T0Z6R3V8QX1M4KCNE7J
expect_problem 404 tensor_unknown
get /v1/groups/nobody
expect_problem 404 group_unknown

request PUT /v1/jobs -d '{}'
expect_problem 405 method_not_allowed
allow=$(header Allow)
for method in GET HEAD POST; do
    case ", $allow," in
    *" $method,"*) ;;
    *) fail "Allow: $allow should list $method" ;;
    esac
done
delete /v1
expect_problem 405 method_not_allowed
