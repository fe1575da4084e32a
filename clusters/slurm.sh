#!/usr/bin/env bash
# Runs a command on a Ray of its own, inside a batch job of Slurm, on all nodes of the job:
#
#   #SBATCH --nodes=2 --ntasks-per-node=1 --cpus-per-task=8 --time=04:00:00 --requeue --signal=B:USR1@120
#   exec bash ~/fervit/clusters/slurm.sh ~/fervit/.venv/bin/python ~/fervit/launch/tune.py --space vit.yaml --resume
#
# `launch/slurm.py` writes such a script. Two minutes before the time limit Slurm sends USR1: the command saves and
# leaves, as by Ctrl-C, and the job requeues itself, so the command must be one that goes on where it was. SIGTERM
# (`scancel --batch --signal=TERM JOB`) does the same and ends; `scancel JOB` ends at once.
#
# FERVIT_JOB_FOLDER    a folder that all nodes see: the token, and jobs.jsonl, which job did what (.fervit_JOB)
# FERVIT_MAX_REQUEUES  how often the job may requeue itself at its time limit (100) before it is submitted again
# FERVIT_SAVE_BEFORE   the seconds in --signal=B:USR1@..., of which long epochs get all but 45 (else 10 s)
# FERVIT_SCRIPT        the batch script, which is submitted anew where Slurm does not let jobs requeue themselves
# FERVIT_TMP           a folder on each node's own disk for Ray's files, with a short name (TMPDIR, /tmp)
set -uo pipefail

say() { echo "$(date +%T) slurm: $*"; }
die() { echo "error: $*" >&2; exit 2; }

[[ -n ${SLURM_JOB_ID-} && -n ${SLURMD_NODENAME-} ]] || die "this is no job of Slurm: give this script to sbatch, or use launch/slurm.py"
[[ $# -gt 0 ]] || die "give the command, such as python launch/tune.py --space ... --resume"
HERE=$(cd "$(dirname "$0")/.." && pwd)
python=$1; [[ $python == *python* ]] || python=$HERE/.venv/bin/python
folder=${FERVIT_JOB_FOLDER:-$PWD/.fervit_$SLURM_JOB_ID}
mkdir -p "$folder" || die "$folder: cannot be made on $SLURMD_NODENAME; the job must start in a folder that all nodes share"

export RAY_USAGE_STATS_ENABLED=0                                    # nothing of this asks the internet
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token.$SLURM_JOB_ID
# As in node.sh: a node that goes silent is given up after about 35 s.
export RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=6000 RAY_health_check_failure_threshold=5
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

note() {  # a line of jobs.jsonl, whose last one a kill may have cut off
	[[ ! -s $folder/jobs.jsonl || -z $(tail -c 1 "$folder/jobs.jsonl") ]] || echo >>"$folder/jobs.jsonl"
	printf '{"time": %s, "job": "%s", "restart": %d, "event": "%s"%s}\n' "$(date +%s)" "$SLURM_JOB_ID" \
		"${SLURM_RESTART_COUNT:-0}" "$1" "${2-}" >>"$folder/jobs.jsonl"
}

driver= paused= ended= signalled= limit= asking= terminated=
ask() { SLURM_TIME_FORMAT=standard timeout 10 "$@" 2>/dev/null; }
pass_on() { signalled=yes; [[ -z $driver ]] || kill -USR1 "$driver" 2>/dev/null; }
note_limit() {  # when this job's time is up; if Slurm does not answer, as its notice says
	local at; at=$(ask squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e)
	limit=$(($(date +%s) + ${FERVIT_SAVE_BEFORE:-31536000}))
	[[ $at != 2*T* ]] || limit=$(($(date -d "$at" +%s) - 5))  # clocks differ
	asking=
	[[ -z $terminated ]] || judge
}
is_over() { [[ -n $limit ]] && (($(date +%s) >= limit)); }
patience() { local left=$((limit - $(date +%s) - 10)); echo $((left < 1 ? 1 : left > 60 ? 60 : left)); }
judge() { if is_over; then say "the time limit is here"; else say "asked to end: saving"; ended=yes; fi; }
trap 'asking=yes paused=yes; say "the time limit is near: saving"; pass_on; note_limit' USR1
# At the limit Slurm sends TERM to this process, too. Before it, whoever sends TERM wants an end. It may come meanwhile.
trap 'pass_on; if [[ -n $asking ]]; then terminated=yes; else judge; fi' TERM

again="sbatch ${FERVIT_SCRIPT:-the script}"
how_to_go_on() {
	if [[ -z $ended ]]; then
		echo "to go on: $again"
	elif [[ $(ask squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T) == PENDING ]]; then
		echo "Slurm starts it again by itself"
	elif [[ $(ask scontrol show job "$SLURM_JOB_ID") == *Requeue=1* ]]; then
		echo "Slurm starts it again by itself if it was preempted; else, to go on: $again"
	else
		echo "to go on: $again"
	fi
}
goes_on=
clean_up() { rm -f "$RAY_AUTH_TOKEN_PATH"; [[ -n ${FERVIT_JOB_FOLDER-}$goes_on ]] || rm -rf "$folder"; }
trap clean_up EXIT
for token in "$folder"/token.*; do  # of a job that was killed
	[[ -e $token && $token != "$RAY_AUTH_TOKEN_PATH" ]] || continue
	state=$(LC_ALL=C timeout 10 squeue --noheader --jobs="${token##*.}" --format=%T 2>&1); asked=$?
	[[ $state != *"Invalid job id"* && $asked$state != 0 ]] || rm -f "$token"
done
(umask 077; od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH") || die "$folder: cannot be written"
note began ", \"nodes\": $SLURM_JOB_NUM_NODES, \"gpus\": ${SLURM_GPUS_ON_NODE:-0}, \"host\": \"$SLURMD_NODENAME\""
say "job $SLURM_JOB_ID, start $((${SLURM_RESTART_COUNT:-0} + 1)), on ${SLURM_JOB_NODELIST-}"

# A process on each node starts Ray there, and ends it when this pipe to its input is closed, also by our death.
# srun takes over neither the CPUs of a task nor all of a node's: without a word it may bind Ray to a single core.
coproc NODES {
	read -r  # until the pipes have names of their own: bash forgets NODES as soon as this process ends
	exec srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --overlap --no-kill \
		--kill-on-bad-exit=0 --wait=0 --cpu-bind=none ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} \
		"$python" -m fervit.slurm.node
}
exec {from}<&"${NODES[0]}" {to}>&"${NODES[1]}" {NODES[0]}<&- {NODES[1]}>&-
nodes=$NODES_PID
echo >&"$to"
lost=0 up=0 head= line=
while ((up + lost < SLURM_JOB_NUM_NODES && SECONDS < 300)); do  # what has not come by then is not waited for
	read -r -t 1 -u "$from" part; got=$?
	line+=$part                                                    # a second may end in the middle of a line
	((got == 0)) || { ((got > 128)) && [[ -z $paused$ended ]] && continue; break; }
	read -r what node rest <<<"$line"; line=
	case $what in
		head) read -r RAY_ADDRESS head <<<"$rest"; echo "$RAY_ADDRESS $node" >&"$to" ;;
		up) ((up += 1)) ;;
		failed)
			((lost += 1)); say "node $node: $rest"
			[[ -n $head || $node != "$SLURMD_NODENAME" ]] || break ;;  # the others wait for the first one
	esac
done

status=1
if [[ -n $paused$ended ]]; then
	status=130
elif [[ -n $head ]]; then
	((lost == 0)) || say "going on with $up of $SLURM_JOB_NUM_NODES nodes"
	say "Ray runs on $up nodes"
	RAY_ADDRESS=$RAY_ADDRESS RAY_TMPDIR=$head TMPDIR=$head "$@" {to}>&- {from}<&- &
	driver=$!
	[[ -z $paused$ended ]] || pass_on
	while signalled=; wait "$driver"; status=$?; [[ -n $signalled ]]; do :; done
else
	say "Ray did not start on the job's first node"
	kill -0 "$nodes" 2>/dev/null || { wait "$nodes"; say "srun ended with status $?"; }
fi
exec {to}>&- {from}<&-
made= progress=
[[ -z $paused || -n $ended || $status == 0 ]] ||
	exec {progress}< <(timeout 60 "$python" -m fervit.slurm.progress "$folder" "$@" 2>/dev/null)
for _ in $(seq 120); do  # but not for a node that has died, nor when Slurm is about to kill this process
	kill -0 "$nodes" 2>/dev/null || break
	! is_over || break
	sleep 0.25
done
[[ -z $progress ]] || read -r -t "$(patience)" made <&"$progress"

# The pauses since the last end, and how many of the latest found no more saved work than there is now.
read -r pauses idle < <(awk -v made="\"made\": \"$made\"" '
	/"event": "ended"/ { n = same = 0 }
	/"event": "paused"/ { n++; same = index($0, made) ? same + 1 : 0 }
	END { print n + 0, same + 0 }' "$folder/jobs.jsonl")
[[ $made != 0 ]] || ((idle += 1))
if [[ -z $paused || -n $ended || $status == 0 ]]; then
	note ended ", \"status\": $status"
	((status == 0)) || say "ended with status $status; $(how_to_go_on)"
	exit "$status"
elif ((pauses >= ${FERVIT_MAX_REQUEUES:-100})); then
	note ended ", \"status\": $status"
	say "requeued $pauses times, as often as --max_requeues allows; to go on: $again"
	exit "$status"
elif ((idle >= 2)); then
	note ended ", \"status\": $status"
	say "two jobs in a row saved nothing new before their time limit: give them more --time; to go on: $again"
	exit "$status"
fi
note paused "${made:+, \"made\": \"$made\"}"
goes_on=yes
say "requeueing"
scontrol requeue "$SLURM_JOB_ID" && exit 0
if [[ -n ${FERVIT_SCRIPT-} ]]; then
	# Without this job's own variables, which would be taken for wishes.
	mapfile -t own < <(compgen -e | sed -n '/^SLURM_CONF$/d; s/^SLURM_/-uSLURM_/p')
	if job=$(env "${own[@]}" sbatch --parsable --dependency="afterany:$SLURM_JOB_ID" "$FERVIT_SCRIPT"); then
		job=$(grep -oE '^[0-9]+' <<<"$job" | tail -n 1)  # among what a cluster's own sbatch may say
		echo "$job" >"$folder/.job_id" && mv "$folder/.job_id" "$folder/job_id"  # for launch/slurm.py status
		say "submitted its successor, job $job"
		exit 0
	fi
fi
die "the job could neither requeue itself nor submit its successor: submit it again to go on"
