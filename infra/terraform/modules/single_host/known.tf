# What of compose this module puts in force. Everything else is named here, and ends the plan: see main.tf.
locals {
  known = [
    "image", "build", "command", "entrypoint", "user", "environment", "restart", "init", "read_only", "cap_drop",
    "cap_add", "security_opt", "logging", "tmpfs", "volumes", "secrets", "ports", "networks", "network_mode",
    "healthcheck", "mem_limit", "shm_size", "pids_limit", "stop_grace_period", "depends_on", "profiles", "deploy",
  ]
  known_inside = {
    healthcheck = ["test", "interval", "timeout", "start_period", "retries", "disable"]
    logging     = ["driver", "options"]
    deploy      = ["replicas"]
  }
  lists = ["command", "entrypoint", "cap_drop", "cap_add", "security_opt", "tmpfs", "volumes", "ports"]

  unknown_keys = { for name, service in local.services : name => concat(
    [for key in keys(service) : key if !contains(local.known, key)],
    flatten([for key, inside in local.known_inside : [for one in try(keys(service[key]), []) : "${key}.${one}" if !contains(inside, one)]]),
    flatten([for network, said in try(service.networks, []) : [for one in try(keys(said), []) : "networks.${network}.${one}" if one != "aliases"]]),
    flatten([for need, said in try(service.depends_on, []) : [for one in try(keys(said), []) : "depends_on.${need}.${one}" if one != "condition"]]),
    flatten([for number, said in try(service.secrets, []) : [for one in try(keys(said), []) : "secrets.${number}.${one}" if !contains(["source", "target"], one)]]),
  ) }
  # Of a form that is read as something else, or as nothing.
  unknown_forms = { for name, service in local.services : name => concat(
    [for key in local.lists : "${key} that is no list" if can(service[key]) && !can(tolist(service[key]))],
    [for key in ["environment", "depends_on"] : "${key} that is no mapping" if can(service[key]) && !can(keys(service[key]))],
    [for mode in compact([try(service.network_mode, "")]) : "network_mode ${mode}" if !contains([for other in keys(local.services) : "service:${other}"], mode)],
    [for time in compact([try(service.stop_grace_period, "")]) : "stop_grace_period ${time}" if !can(regex("^\\d+[sm]$", time))],
    [for size in compact([try(service.mem_limit, ""), try(service.shm_size, "")]) : "size ${size}" if !can(regex("^\\d+[mg]$", size))],
    [for volume in try(tolist(service.volumes), []) : "volume ${volume}" if !can(regex("^[^:]+:[^:]+(:r[ow])?$", volume))],
    can(service.deploy.replicas) && !can(regex("^\\d+$", service.deploy.replicas)) ? ["deploy.replicas ${service.deploy.replicas}"] : [],
    can(service.healthcheck.test) && !can(tolist(service.healthcheck.test)) ? ["healthcheck.test that is no list"] : [],
  ) }
  unknown_elsewhere = concat(
    [for key in keys(local.compose) : key if !contains(["name", "services", "networks", "volumes", "secrets"], key) && !startswith(key, "x-")],
    flatten([for kind, inside in { networks = ["internal", "driver_opts"], volumes = [], secrets = ["file"] } : [
      for name, said in try(local.compose[kind], {}) : [for one in try(keys(said), []) : "${kind}.${name}.${one}" if !contains(inside, one)]
    ]]),
  )
  unknown = sort(concat(local.unknown_elsewhere, flatten([
    for name in keys(local.services) : [for what in concat(local.unknown_keys[name], local.unknown_forms[name]) : "${name}.${what}"]
  ])))
}
