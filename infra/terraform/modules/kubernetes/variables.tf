variable "manifests" {
  description = "What `helm template` wrote of infra/kubernetes/portico: the chart is the one source of manifests."
  type        = string

  validation {
    condition     = can([for text in split("\n---\n", "\n${var.manifests}\n") : yamldecode(text) if can(regex("(?m)^[^#\\s]", text))])
    error_message = "manifests is not YAML: give it the output of `helm template`, such as file(\"portico.yaml\")."
  }

  validation {
    condition     = try(length([for text in split("\n---\n", "\n${var.manifests}\n") : 1 if can(regex("(?m)^kind: Deployment\\s*$", text))]), 0) > 0
    error_message = "manifests has no Deployment: give it the whole output of `helm template`."
  }

  validation {
    condition     = !can(regex("(?m)^kind: Secret\\s*$", var.manifests))
    error_message = "manifests has a Secret, which would lie in the state: make it with `kubectl create secret generic`, and name it in the chart's values."
  }
}

variable "namespace" {
  description = "Namespace that everything goes into."
  type        = string
  default     = "portico"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace)) && !contains(["default", "kube-system", "kube-public", "kube-node-lease"], var.namespace)
    error_message = "The namespace is a DNS label of its own, such as portico: not default, and none of Kubernetes' own."
  }
}

variable "create_namespace" {
  description = "Make the namespace, with its Pod Security level. False where it was made before."
  type        = bool
  default     = true
}

variable "pod_security" {
  description = "Pod Security level that the namespace enforces, where it is made here."
  type        = string
  default     = "restricted"

  validation {
    condition     = contains(["restricted", "baseline", "privileged"], var.pod_security)
    error_message = "pod_security is restricted, baseline or privileged."
  }
}

variable "rollout_timeout" {
  description = "How long a Deployment may take until all its pods are ready."
  type        = string
  default     = "10m"

  validation {
    condition     = can(regex("^[1-9][0-9]*[sm]$", var.rollout_timeout))
    error_message = "rollout_timeout is seconds or minutes, such as 90s or 10m."
  }
}

variable "destroy_data" {
  description = "True lets `terraform destroy` delete the namespace and volume claims, with the Secrets in it. Apply it first, then destroy."
  type        = bool
  default     = false
}
