#!/usr/bin/env bash
# What the YAMLs of clusters do on a node, so that they differ only in what makes them different.
#
#   node.sh setup              makes ~/fervit/.venv with fervit and the versions of constraints.txt, and writes ~/.bashrc
#   node.sh ray start ...      starts Ray as every node of a fervit cluster does: with the token, or not at all
#
# FERVIT_SHARE   the folder that all nodes see and in which jobs run (/mnt/fervit)
# FERVIT_NFS     server:/path that is mounted there
# FERVIT_DISK    on the head of an AWS cluster, name:GB of the volume that is mounted there and served to the others
# FERVIT_EXTRAS  extras of fervit to install (aws, gcp)
set -euo pipefail

readonly HOME_OF_CODE=${FERVIT_HOME:-$HOME/fervit}
readonly TOKEN=$HOME/.ray/auth_token
readonly SHARE=${FERVIT_SHARE:-/mnt/fervit}

die() { echo "node.sh: $*" >&2; exit 1; }

setup() {
	[[ -s $TOKEN ]] || die "no token in $TOKEN; on your machine: (umask 077; ray get-auth-token --generate)"
	chmod 700 "$(dirname "$TOKEN")"
	chmod 600 "$TOKEN"
	write_profile
	same_image_as_head
	local extras=${FERVIT_EXTRAS:+[$FERVIT_EXTRAS]} stamp
	stamp=$(cat "$HOME_OF_CODE"/{pyproject.toml,constraints.txt} | sha256sum)$extras
	[[ $(cat "$HOME_OF_CODE/.installed" 2>/dev/null) == "$stamp" ]] && return
	make_venv
	# Editable: the code that `ray up` copies later is what runs. Byte code once, since each Ray process would compile torch.
	"$HOME_OF_CODE/.venv/bin/uv" pip install --quiet --compile-bytecode --python "$HOME_OF_CODE/.venv/bin/python" \
		-c "$HOME_OF_CODE/constraints.txt" -e "$HOME_OF_CODE$extras"
	echo "$stamp" >"$HOME_OF_CODE/.installed"
}

# With Python 3.11, which uv brings along where a node has another one: all nodes and the job must have the same.
make_venv() {
	local uv
	[[ -x $HOME_OF_CODE/.venv/bin/uv ]] && return
	python3 -m venv "$HOME_OF_CODE/.uv" || { install python3-venv; python3 -m venv "$HOME_OF_CODE/.uv"; }
	"$HOME_OF_CODE/.uv/bin/pip" install --quiet uv
	uv=$HOME_OF_CODE/.uv/bin/uv
	"$uv" venv --quiet --allow-existing --python 3.11 "$HOME_OF_CODE/.venv"
	"$uv" pip install --quiet --python "$HOME_OF_CODE/.venv/bin/python" uv
}

# Ray reads ~/.bashrc before each command that it sends, so `ray exec`, `ray attach` and `ray submit` have this, too.
write_profile() {
	local line
	for line in "export PATH=$HOME_OF_CODE/.venv/bin:\$PATH" 'export RAY_AUTH_MODE=token' \
		'export RAY_USAGE_STATS_ENABLED=0' "export FERVIT_SHARE=$SHARE"; do
		grep -qsxF "$line" ~/.bashrc || echo "$line" >>~/.bashrc
	done
}

start() {
	[[ -s $TOKEN ]] || die "no token in $TOKEN: Ray would start open to the network; \`ray up\` copies it here"
	export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
	# A host that goes silent is given up after about 35 s (Ray: 64): a cut of 20 s is sat out, and nothing is tried again.
	# One that dies and whose connections break is noticed within seconds, whatever stands here.
	export RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=6000 RAY_health_check_failure_threshold=5
	# `ray job stop` is Ctrl-C: a sweep lets its trials save, says how to go on, and has this long for it.
	export RAY_JOB_STOP_SIGNAL=SIGINT RAY_JOB_STOP_WAIT_TIME_S=60
	ulimit -n 65536 2>/dev/null || true
	[[ -z ${FERVIT_DISK-} ]] || serve_disk
	[[ -z ${FERVIT_NFS-} ]] || mount_nfs
	[[ -d $SHARE && -w $SHARE ]] || die "$SHARE is not there or cannot be written; mount the folder that all nodes share"
	cd "$SHARE"
	same_image_as_head
	say_what_may_join
	look_at_gpu "$@" || set -- "$@" --num-gpus=0
	# Of an earlier start. KILL, since TERM is a notice.
	pkill -KILL -f 'fervit.cluster.preemption watch' 2>/dev/null || true
	rm -f "/tmp/fervit_leaving_$(id -u)"
	# Twice: `ray start` gives up after 30 s on a busy node, and the autoscaler gives a node up after one failure.
	"$@" || { ray stop --force; "$@"; }
	watch_for_notice
}

mount_nfs() {
	local mounted
	mounted=$(awk -v at="$SHARE" '$2 == at { print $1 }' /proc/mounts | tail -n 1)
	[[ $mounted == "$FERVIT_NFS" ]] && return
	[[ -z $mounted ]] || sudo umount -fl "$SHARE"  # of a head that is gone
	command -v mount.nfs >/dev/null || install nfs-common
	sudo mkdir -p "$SHARE"
	sudo mount -t nfs -o hard,timeo=600,noatime "$FERVIT_NFS" "$SHARE"
	[[ -w $SHARE ]] || sudo chown "$(id -u):$(id -g)" "$SHARE"  # a new share is root's
}

# The head's volume, which outlives it: a new head finds it by its name. Workers reach it by NFS; Ray's security group
# lets in nobody else.
serve_disk() {
	local device
	if ! mountpoint -q "$SHARE"; then
		device=$("$HOME_OF_CODE/.venv/bin/python" "$HOME_OF_CODE/clusters/aws_disk.py" "$FERVIT_DISK")
		sudo blkid "$device" >/dev/null || sudo mkfs.ext4 -q "$device"
		sudo mkdir -p "$SHARE"
		sudo mount -o noatime "$device" "$SHARE"
		sudo chown "$(id -u):$(id -g)" "$SHARE"
	fi
	command -v exportfs >/dev/null || install nfs-kernel-server
	sudo mkdir -p /etc/exports.d
	echo "$SHARE *(rw,sync,no_subtree_check,fsid=0)" | sudo tee /etc/exports.d/fervit.exports >/dev/null
	sudo exportfs -ra
}

# A machine's own updates hold apt's locks for a while after its first start.
install() {
	for _ in $(seq 30); do
		sudo apt-get update -qq && sudo apt-get -o DPkg::Lock::Timeout=300 install -y -qq "$@" && return
		sleep 10
	done
	die "could not install $*"
}

# A GPU that Ray would count and torch cannot use would fail whatever is placed on it: a worker stays out, and its line
# stands in the head's log (/tmp/ray/session_latest/logs/monitor.*); the head goes on without the GPU.
look_at_gpu() {
	local line python=$HOME_OF_CODE/.venv/bin/python
	[[ " $* " != *" --num-gpus=0 "* && " $* " != *" --num-gpus 0 "* ]] || return 0
	line=$("$python" -m fervit.cluster.gpu_look 2>&1) && { [[ -z $line ]] || echo "node.sh: $line"; return 0; }
	grep -q '^GPU: ' <<<"$line" || { echo "node.sh: no look at the GPU: $(tail -n 1 <<<"$line")" >&2; return 0; }
	line=$(grep -m 1 '^GPU: ' <<<"$line")
	[[ -z ${RAY_HEAD_IP-} ]] || die "$(hostname) stays out: $line"
	echo "node.sh: the head goes on without its GPU: $line" >&2
	return 1
}

# Ray tells nobody which machines its autoscaler may add; sweeps and encoding jobs inherit it from here.
say_what_may_join() {
	local config=~/ray_bootstrap_config.yaml
	[[ -z ${RAY_HEAD_IP-} && -s $config ]] || return 0
	FERVIT_NODE_TYPES=$("$HOME_OF_CODE/.venv/bin/python" -c '
import json, sys, yaml
config = yaml.safe_load(open(sys.argv[1]))
types, most = config.get("available_node_types", {}), config.get("max_workers", 0)
keep = {n: {"resources": t.get("resources", {}), "max_workers": min(most, t.get("max_workers", 0))} for n, t in types.items()}
print(json.dumps(keep))' "$config")
	export FERVIT_NODE_TYPES
}

# EC2 looks an image up by its name for whoever may ask it, as you may and the head may not. The head knows its own.
same_image_as_head() {
	local config=~/ray_bootstrap_config.yaml at=http://169.254.169.254/latest token image
	[[ -z ${RAY_HEAD_IP-} ]] && grep -qs resolve:ssm: "$config" || return 0
	token=$(curl -sf -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$at/api/token")
	image=$(curl -sf -m 5 -H "X-aws-ec2-metadata-token: $token" "$at/meta-data/ami-id")
	[[ $image == ami-* ]] || die "this machine does not know its image: write an ami-... as ImageId of the workers"
	sed -i "s#resolve:ssm:[^\"', ]*#$image#g" "$config"
}

# Spot machines are told before they are taken away: what trains here then saves and goes on elsewhere. Not on the head,
# which is no spot machine.
watch_for_notice() {
	[[ -z ${RAY_HEAD_IP-} ]] && return
	(cd "$HOME_OF_CODE" && setsid nohup .venv/bin/python -m fervit.cluster.preemption watch </dev/null &>/tmp/fervit_preemption.log &)
}

case ${1-} in
	setup) setup ;;
	ray) start "$@" ;;
	*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
