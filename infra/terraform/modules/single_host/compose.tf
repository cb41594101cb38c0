# compose.yaml is the one truth: it is read, its variables are put in, and what it says of each service is brought into
# one form. What it uses that is not known (known.tf) ends the plan, instead of being left out.
locals {
  compose_file = coalesce(var.compose_file, "${path.module}/../../../../compose.yaml")
  here         = dirname(abspath(local.compose_file))
  compose_text = file(local.compose_file)

  given = { for name, value in merge({ PORTICO_GATE_FOLDER = "${var.deployment_folder}/hybrid/gate" }, var.variables, {
    PORTICO_SITE          = var.site
    PORTICO_BIND          = var.listen.address
    PORTICO_HTTPS_PORT    = tostring(var.listen.port)
    PORTICO_VERSION       = var.portico_version
    PORTICO_CONFIG_FOLDER = "${var.deployment_folder}/config"
    PORTICO_WORKERS       = tostring(var.workers)
  }) : name => trimsuffix(trimprefix(jsonencode(value), "\""), "\"") if value != "" }
  asked = toset(flatten(regexall("\\$\\{(\\w+)", local.compose_text)))

  # Parsed first and filled in afterwards, as compose does it: a value stays the text that it is.
  unfilled = jsonencode(yamldecode(local.compose_text))
  defaults = { for pair in distinct(regexall("\\$\\{(\\w+):-([^}]*)\\}", local.unfilled)) : pair[0] => pair[1]... }
  filling  = merge({ for name, texts in local.defaults : name => texts[0] }, local.given)
  template = replace(local.unfilled, "/\\$\\{(\\w+)(?::?[-?][^}]*)?\\}/", "$${filling[\"$1\"]}")
  compose  = jsondecode(replace(templatestring(local.template, { filling = local.filling }), "$$", "$"))

  services = {
    for name, service in local.compose.services : name => service
    if length(try(service.profiles, [])) == 0 || length(setintersection(try(service.profiles, []), var.profiles)) > 0
  }
  mebibytes = { for text in distinct(flatten([
    for service in values(local.services) : compact([try(service.mem_limit, ""), try(service.shm_size, "")])
  ])) : text => try(tonumber(regex("^(\\d+)[mg]$", text)[0]), 0) * (endswith(text, "g") ? 1024 : 1) }

  parts = { for name, service in local.services : name => {
    image       = service.image
    command     = try([for word in service.command : tostring(word)], null)
    entrypoint  = try([for word in service.entrypoint : tostring(word)], null)
    user        = try(service.user, null)
    environment = toset([for key, value in try(service.environment, {}) : "${key}=${value == null ? "" : tostring(value)}"])
    restart     = try(service.restart, "no")
    init        = try(service.init, false)
    read_only   = try(service.read_only, false)
    # As the provider's client writes them, and Docker says them: else each plan would see a change.
    cap_drop      = toset([for capability in try(service.cap_drop, []) : upper(capability) == "ALL" ? "ALL" : "CAP_${trimprefix(upper(capability), "CAP_")}"])
    cap_add       = toset([for capability in try(service.cap_add, []) : upper(capability) == "ALL" ? "ALL" : "CAP_${trimprefix(upper(capability), "CAP_")}"])
    security_opts = toset([for option in try(service.security_opt, []) : startswith(option, "seccomp:") ? "seccomp=${jsonencode(jsondecode(file("${local.here}/${trimprefix(option, "seccomp:")}")))}" : replace(option, "/^apparmor:/", "apparmor=")])
    log_driver    = try(service.logging.driver, null)
    log_options   = { for key, value in try(service.logging.options, {}) : key => tostring(value) }
    tmpfs         = { for mount in try(service.tmpfs, []) : split(":", mount)[0] => join(":", slice(split(":", mount), 1, length(split(":", mount)))) }
    mounts        = concat(local.volume_mounts[name], local.secret_mounts[name])
    ports         = [for port in try(service.ports, []) : { address = split(":", port)[0], outside = tonumber(split(":", port)[1]), inside = tonumber(split(":", port)[2]) }]
    networks      = { for network in try(keys(service.networks), service.networks, []) : network => toset(concat([name], try(service.networks[network].aliases, []))) }
    joins         = can(service.network_mode) ? trimprefix(service.network_mode, "service:") : null
    # What it does not say is the image's, as with compose.
    healthcheck = !can(service.healthcheck) ? null : {
      test         = tolist(try(service.healthcheck.disable, false) ? ["NONE"] : try([for word in service.healthcheck.test : word], []))
      interval     = try(service.healthcheck.interval, null)
      timeout      = try(service.healthcheck.timeout, null)
      start_period = try(service.healthcheck.start_period, null)
      retries      = try(service.healthcheck.retries, null)
    }
    watched      = !try(service.healthcheck.disable, false) && (can(service.healthcheck.test) || can(service.build))
    memory       = try(local.mebibytes[service.mem_limit], null)
    shm_size     = try(local.mebibytes[service.shm_size], null)
    pids         = try(service.pids_limit, null)
    stop_timeout = try(tonumber(regex("^(\\d+)[sm]$", service.stop_grace_period)[0]) * (endswith(service.stop_grace_period, "m") ? 60 : 1), 10)
    job          = try(service.restart, "") == "no"
    needs        = [for need in distinct(concat(try(keys(service.depends_on), []), [for mode in compact([try(service.network_mode, "")]) : trimprefix(mode, "service:")])) : need if contains(keys(local.services), need)]
    replicas     = try(tonumber(service.deploy.replicas), 1)
    digest       = sha256(join("\n", concat([jsonencode(try(service.healthcheck, {}))], [for mount in local.volume_mounts[name] : try(local.mounted[mount.relative], "")])))
  } }

  # What is mounted of infra/: a file, or all files of a folder.
  mounted = { for path in distinct([for mount in flatten(values(local.volume_mounts)) : mount.relative if startswith(mount.relative, "./infra/")]) :
    path => try(filesha256("${local.here}/${path}"), sha256(join("\n", [for file in fileset("${local.here}/${path}", "**") : "${file} ${filesha256("${local.here}/${path}/${file}")}"])))
  }

  # "./infra/docker/x:/y:ro", "/absolute:/y" or "volume:/y"
  volume_mounts = { for name, service in local.services : name => [
    for volume in try(service.volumes, []) : {
      type      = can(regex("^[./]", volume)) ? "bind" : "volume"
      relative  = split(":", volume)[0]
      source    = startswith(volume, "./") ? "${var.source_folder}/${trimprefix(split(":", volume)[0], "./")}" : startswith(volume, "/") ? split(":", volume)[0] : "${var.name}_${split(":", volume)[0]}"
      target    = split(":", volume)[1]
      read_only = endswith(volume, ":ro")
    }
  ] }
  secret_mounts = { for name, service in local.services : name => [
    for secret in try(service.secrets, []) : {
      type      = "bind"
      relative  = ""
      source    = "${var.deployment_folder}/${trimprefix(local.compose.secrets[try(secret.source, secret)].file, "./")}"
      target    = try(secret.target, "/run/secrets/${secret}")
      read_only = true
    }
  ] }

  # What a service needs stands in an earlier stage.
  stage_1 = [for name, part in local.parts : name if length(part.needs) == 0]
  stage_2 = [for name, part in local.parts : name if !contains(local.stage_1, name) && length(setsubtract(part.needs, local.stage_1)) == 0]
  upto_2  = concat(local.stage_1, local.stage_2)
  stage_3 = [for name, part in local.parts : name if !contains(local.upto_2, name) && length(setsubtract(part.needs, local.upto_2)) == 0]
  upto_3  = concat(local.upto_2, local.stage_3)
  stage_4 = [for name, part in local.parts : name if !contains(local.upto_3, name) && length(setsubtract(part.needs, local.upto_3)) == 0]
  upto_4  = concat(local.upto_3, local.stage_4)
  stage_5 = [for name, part in local.parts : name if !contains(local.upto_4, name) && length(setsubtract(part.needs, local.upto_4)) == 0]
  upto_5  = concat(local.upto_4, local.stage_5)
  stage_6 = [for name, part in local.parts : name if !contains(local.upto_5, name) && length(setsubtract(part.needs, local.upto_5)) == 0]
  upto_6  = concat(local.upto_5, local.stage_6)
  stage_7 = [for name, part in local.parts : name if !contains(local.upto_6, name) && length(setsubtract(part.needs, local.upto_6)) == 0]
  placed  = concat(local.upto_6, local.stage_7)

  copies = merge([for name, part in local.parts : {
    for number in range(1, part.replicas + 1) : "${name}-${number}" => merge(part, { service = name, image = docker_image.this[part.image].image_id })
  }]...)
  networks = toset(flatten([for part in values(local.parts) : keys(part.networks)]))
  volumes  = toset([for volume in keys(local.compose.volumes) : volume if contains(flatten([for mounts in values(local.volume_mounts) : mounts[*].source]), "${var.name}_${volume}")])
}
