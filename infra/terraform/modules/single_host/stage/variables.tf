variable "common" {
  description = "The deployment's name, its daemon, and its networks by the names that services use."
  type = object({
    name        = string
    docker_host = string
    networks    = map(string)
  })
}

variable "ids" {
  description = "Name of each container of the stages before → its id."
  type        = map(string)
  default     = {}
}

variable "containers" {
  description = "What runs in this stage, by container name without prefix."
  type = map(object({
    service       = string
    image         = string
    command       = optional(list(string))
    entrypoint    = optional(list(string))
    user          = optional(string)
    environment   = set(string)
    restart       = string
    init          = bool
    read_only     = bool
    cap_drop      = set(string)
    cap_add       = set(string)
    security_opts = set(string)
    log_driver    = optional(string)
    log_options   = map(string)
    tmpfs         = map(string)
    mounts        = list(object({ type = string, source = string, target = string, read_only = bool }))
    ports         = list(object({ address = string, outside = number, inside = number }))
    networks      = map(set(string))
    joins         = optional(string)
    healthcheck = optional(object({
      test         = list(string)
      interval     = optional(string)
      timeout      = optional(string)
      start_period = optional(string)
      retries      = optional(number)
    }))
    watched      = bool
    memory       = optional(number)
    shm_size     = optional(number)
    pids         = optional(number)
    stop_timeout = number
    job          = bool
    digest       = string
  }))
}
