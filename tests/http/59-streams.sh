#!/bin/sh
# stream=k, or device=gpuN:k as MegEngine writes it, says which stream a job runs on.
. "$(dirname "$0")/lib.sh"
start_server --workers 2
kind=cpu
[ "${TUTTI_TEST_BACKEND:-shm}" != nccl ] || kind=gpu

sum() {
    post "/v1/jobs?op=all_reduce_sum&wait=10&$1" '{"inputs": [[1, 2], [10, 20]]}'
}
for query in stream=5 "device=${kind}0:5" "device=${kind}x:5" device=xpux:5 "device=${kind}1:5&stream=5"; do
    sum "$query"
    expect_status 200
    expect .stream 5
    expect '.outputs[1].data' '[11,22]'
done
sum "device=${kind}1"
expect .stream 0

for device in gpu gpu0: gpu0:64 gpu0:-1 gpu:0 tpu0 gpu0:1x 0 xpu; do
    sum "device=$device"
    expect_problem 400 bad_parameter
    expect .pointer '"/device"'
done
sum "device=${kind}0:1&stream=2"
expect_problem 400 conflicting_parameter
sum device=gpu17
expect_problem 422 parameter_range
post /v1/jobs '{"op": "all_reduce_sum", "device": "gpu17:2", "inputs": [1, 2]}'
expect_problem 422 parameter_range
