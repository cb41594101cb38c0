# Portico on a cluster. First, once:
#   kubectl create namespace portico
#   kubectl -n portico create secret generic portico --from-file=/srv/portico/deployment/secrets
# and at each change of the chart or its values:
#   helm template portico infra/kubernetes/portico --namespace portico --values values.yaml > portico.yaml
terraform {
  required_version = ">= 1.9"

  required_providers {
    kubectl = {
      source  = "gavinbunney/kubectl"
      version = "~> 1.19"
    }
  }
}

variable "kubeconfig" {
  description = "How the cluster is reached."
  type        = string
  default     = "~/.kube/config"
}

variable "manifests_file" {
  description = "What `helm template` wrote."
  type        = string
}

variable "namespace" {
  description = "Namespace that everything goes into."
  type        = string
  default     = "portico"
}

variable "rollout_timeout" {
  description = "How long a Deployment may take until its pods are ready."
  type        = string
  default     = "10m"
}

variable "destroy_data" {
  description = "Let `terraform destroy` delete the namespace and its volume claims."
  type        = bool
  default     = false
}

provider "kubectl" {
  config_path = var.kubeconfig
}

module "portico" {
  source = "../../modules/kubernetes"

  manifests       = file(var.manifests_file)
  namespace       = var.namespace
  rollout_timeout = var.rollout_timeout
  destroy_data    = var.destroy_data
}

output "resources" {
  description = "What is applied, by stage."
  value       = module.portico.resources
}
