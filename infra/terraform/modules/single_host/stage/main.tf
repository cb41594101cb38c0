# Containers that start together.
resource "docker_container" "this" {
  for_each = var.containers

  name         = "${var.common.name}-${each.key}"
  image        = each.value.image
  command      = each.value.command
  entrypoint   = each.value.entrypoint
  user         = each.value.user
  env          = each.value.environment
  restart      = each.value.restart
  init         = each.value.init
  read_only    = each.value.read_only
  tmpfs        = each.value.tmpfs
  log_driver   = each.value.log_driver
  log_opts     = each.value.log_options
  memory       = each.value.memory
  memory_swap  = try(each.value.memory * 2, null)
  shm_size     = each.value.shm_size
  stop_timeout = each.value.stop_timeout
  network_mode = each.value.joins == null ? null : "container:${var.ids["${var.common.name}-${each.value.joins}-1"]}"

  # seccomp profiles go to the daemon as text
  security_opts         = each.value.security_opts
  destroy_grace_seconds = each.value.stop_timeout

  attach       = each.value.job
  must_run     = !each.value.job
  wait         = each.value.watched
  wait_timeout = 300

  capabilities {
    drop = each.value.cap_drop
    add  = each.value.cap_add
  }

  # A mounted file or a health check that changed means another container.
  labels {
    label = "portico.digest"
    value = each.value.digest
  }

  dynamic "mounts" {
    for_each = each.value.mounts

    content {
      type      = mounts.value.type
      source    = mounts.value.source
      target    = mounts.value.target
      read_only = mounts.value.read_only
    }
  }

  dynamic "networks_advanced" {
    for_each = each.value.networks

    content {
      name    = var.common.networks[networks_advanced.key]
      aliases = networks_advanced.value
    }
  }

  dynamic "ports" {
    for_each = each.value.ports

    content {
      ip       = ports.value.address
      external = ports.value.outside
      internal = ports.value.inside
    }
  }

  dynamic "healthcheck" {
    for_each = each.value.healthcheck == null ? [] : [each.value.healthcheck]

    content {
      test         = healthcheck.value.test
      interval     = healthcheck.value.interval
      timeout      = healthcheck.value.timeout
      start_period = healthcheck.value.start_period
      retries      = healthcheck.value.retries
    }
  }

  lifecycle {
    # memory_swap is -1 where the host's kernel does not count swap. What a health check leaves out comes from the image,
    # and the provider would write it as a change at every plan; one in compose.yaml is in the digest above.
    ignore_changes = [memory_swap, healthcheck]

    postcondition {
      condition     = !each.value.job || self.exit_code == 0
      error_message = "The job ${each.key} failed: `docker logs ${var.common.name}-${each.key}` says why. Mend it, then apply with -replace='…docker_container.this[\"${each.key}\"]'."
    }
  }
}

# The provider has no argument for the bound on processes; the client of the same daemon sets it.
resource "terraform_data" "pids" {
  for_each = { for name, part in var.containers : name => part if !part.job && part.pids != null }

  triggers_replace = [docker_container.this[each.key].id, each.value.pids]

  provisioner "local-exec" {
    command = "docker --host \"$HOST\" update --pids-limit \"$LIMIT\" \"$CONTAINER\" > /dev/null"
    environment = {
      HOST      = var.common.docker_host
      LIMIT     = each.value.pids
      CONTAINER = docker_container.this[each.key].id
    }
  }
}
