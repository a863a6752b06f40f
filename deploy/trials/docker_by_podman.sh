# `docker` as docs/operations.md types it, where Podman does the work: `compose` is
# podman-compose, whose ps knows no services, and which waits for no health.

docker() {
  case "$*" in
    "compose ps -q "*) containers_of "$4" ;;
    "compose up -d --wait "*) shift 4; compose up -d "$@"; wait_until_healthy "${@: -1}" ;;
    "compose "*) shift; compose "$@" ;;
    *) podman "$@" ;;
  esac
}

containers_of() {
  podman ps -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
    --filter "label=com.docker.compose.service=$1"
}

# No timer may run health checks; this runs them.
wait_until_healthy() {
  for container in $(containers_of "$1"); do
    until podman healthcheck run "$container"; do sleep 1; done
  done
}
