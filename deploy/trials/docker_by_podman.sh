# `docker` for the commands of docs/operations.md, run by Podman. `compose` is podman-compose,
# whose ps knows no services and whose up does not wait for health checks.

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

# Health checks may have no timer here, so this function runs them.
wait_until_healthy() {
  for container in $(containers_of "$1"); do
    until podman healthcheck run "$container"; do sleep 1; done
  done
}
