# The launch and its control sockets: ranks meet, agree, share; and in every way in which one of them
# can fail, the launch ends in time and says so in one sentence. Time limits are loose but for what
# they are about: that nothing waits for a host that will not come.
program=$(dirname "$APBENCH")/tests/launch_ranks

# launch LIMIT COMMAND...: output in $SCRATCH/log, exit status returned; MS tells how long it took
launch() {
    local limit=$1 begin
    shift
    begin=$(date +%s%N)
    timeout -k 5 "$limit" "$@" >"$SCRATCH/log" 2>&1
    local status=$?
    MS=$((($(date +%s%N) - begin) / 1000000))
    return $status
}

verdict() { # verdict CONDITION NAME WHY
    if [ "$1" = 0 ]; then
        echo "ok launch: $2"
    else
        echo "not ok launch: $2: $3"
        cat "$SCRATCH/log"
    fi
}

good() { # good NAME COMMAND...
    local name=$1
    shift
    launch 60 "$@"
    verdict $? "$name" "after $MS ms"
}

# ends WORD STATUS MOST_MS NAME SENTENCE: it must end by itself, with exactly this line and no other
ends() {
    launch 40 "$program" "$1"
    local status=$?
    [ $status = "$2" ] && [ $MS -lt "$3" ] && [ "$(cat "$SCRATCH/log")" = "$5" ]
    verdict $? "$4" "status $status after $MS ms (at most $3), expected $2 and: $5"
}

cell='cell `tiny ring, 4 hosts, length 1K`'
good "agreements, reductions, 10 MB shared, failures that leave the launch alive" "$program" together
good "a failure outside runs waits for those who come late" "$program" late
good "and one in a run for those who begin that late" "$program" late-run
good "ranks started from the only process of an interactive srun" \
    env SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1 SLURM_LOCALID=0 "$program" together
ends killed 1 4000 "a killed rank: the others end within 2 s" "apbench: host 2 died in $cell, layer 7"
ends leader 1 4000 "the leading rank is killed" "apbench: host 0 died in $cell, layer 7"
ends hang 1 5000 "links that cannot be let go of" "apbench: host 2 died in $cell, layer 7"
ends tell 1 2500 "one rank gives up" "apbench: host 3: the moon is full"
ends all-tell 1 2500 "all ranks give up: said once" "apbench: host 0: the moon is full"
ends all-tell-leader 1 2500 "all ranks give up, the leading one last" "apbench: host 0: the moon is full"
ends tell-dead 1 3500 "a rank gives up and the leader dies before it says so" "apbench: host 0 died"
ends trouble 1 5000 "trouble on one host's links" "apbench: host 1: the link is torn"
ends alone 1 9000 "a host fails while others wait for it" "apbench: host 2: the moon is full"
ends nonsense 1 4000 "a rank that talks nonsense" \
    "apbench: host 1 sent what is no message of this program (20544547 5448202f 724289189539958868)"

# Lines whose seconds vary.
like() { # like WORD MOST_MS NAME PATTERN
    launch 40 "$program" "$1"
    local status=$?
    [ $status = 1 ] && [ $MS -lt "$2" ] && [ "$(grep -c '^apbench: ' "$SCRATCH/log")" = "${5:-1}" ] &&
        grep -qE "$4" "$SCRATCH/log"
    verdict $? "$3" "status $status after $MS ms (at most $2), expected: $4"
}
like stuck 7500 "a stuck rank at the deadline" \
    "^apbench: host 1 is stuck in $cell, layer 3: timeout, [4-6]\.[0-9] s after the run began$"
like slow 5800 "all are slow" "^apbench: not done in $cell, layer 3: timeout, [1-4]\.[0-9] s after the run began$"
like stopped 13500 "a stopped rank at the deadline" \
    "^apbench: host 1 has been silent for [2-6]\.[0-9] s in $cell, layer [34]: timeout, [4-6]\.[0-9] s after the run began$" 2
like tell-stopped 12000 "a rank gives up and the leader does not hear it" "^apbench: host 1: the moon is full$" 2
like early 12000 "a rank that ends before the launch is together" \
    "^apbench: host 2 ended with status 1, and 5 s later 3 others were still there: killed$"

# Ranks started by hand at a port of our choice.
port=$((20000 + RANDOM % 10000))
export APBENCH_SIZE=2 APBENCH_COOKIE=biscuit APBENCH_RENDEZVOUS=127.0.0.1:$port
APBENCH_RANK=0 timeout 60 "$program" together >"$SCRATCH/zero" 2>&1 &
zero=$!
for i in $(seq 100); do # until it listens
    (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null && break
    sleep 0.05
done
(exec 3<>/dev/tcp/127.0.0.1/$port && printf 'GET / HTTP/1.1\r\n\r\n' >&3 && head -c 400000 /dev/zero >&3) 2>/dev/null
APBENCH_RANK=0 launch 20 "$program" together
[ $? = 1 ] && grep -q "port $port of 127.0.0.1 is in use: set APBENCH_RENDEZVOUS" "$SCRATCH/log"
verdict $? "a port in use" "another sentence"
APBENCH_RANK=1 APBENCH_COOKIE=cracker launch 20 "$program" together
[ $? = 1 ] && grep -q "or is of another launch" "$SCRATCH/log"
verdict $? "a wrong cookie" "another sentence"
APBENCH_RANK=1 APBENCH_SIZE=3 launch 20 "$program" together
[ $? = 1 ] && grep -q "rank 1 is refused: this launch has 2 ranks, not 3" "$SCRATCH/log"
verdict $? "a wrong size" "another sentence"
APBENCH_RANK=1 good "strangers are turned away and the launch goes on" "$program" together
wait $zero
verdict $? "and its leader ends well" "$(cat "$SCRATCH/zero")"
unset APBENCH_SIZE APBENCH_COOKIE APBENCH_RENDEZVOUS

if command -v mpirun >/dev/null; then
    good "under mpirun, without MPI" mpirun -n 3 --oversubscribe "$program" together
else
    echo "skip launch: mpirun is not here"
fi
export MASTER_ADDR=127.0.0.1 MASTER_PORT=$port WORLD_SIZE=2
RANK=1 timeout 60 "$program" together >"$SCRATCH/one" 2>&1 &
RANK=0 good "torchrun's environment" "$program" together
unset MASTER_ADDR MASTER_PORT WORLD_SIZE
SLURM_STEP_ID=0 SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2 launch 20 "$program" together
[ $? = 1 ] && grep -q "set APBENCH_RENDEZVOUS=host:port" "$SCRATCH/log"
verdict $? "no place to meet is known" "another sentence"
SLURM_STEP_ID=0 SLURM_JOB_ID=7 SLURM_PROCID=4 SLURM_STEP_NUM_TASKS=2 launch 20 "$program" together
[ $? = 1 ] && grep -q "SLURM_PROCID=4 is not a number from 0 to 1" "$SCRATCH/log"
verdict $? "a launcher's nonsense" "another sentence"
