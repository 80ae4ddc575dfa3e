variable "cluster" {
  description = "Name of the cluster, for EKS and for the controller alike."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9-]{1,40}$", var.cluster))
    error_message = "Lower-case letters, digits and dashes, 40 at most."
  }
}

variable "kubernetes_version" {
  description = "Version of the control plane; that of the worker's kubelet is the same or older."
  type        = string
  default     = "1.33"
}

variable "subnet_ids" {
  description = "Subnets of the control plane's interfaces, in two zones at least."
  type        = list(string)
}

variable "worker_role" {
  description = "Role of the worker: output `role` of the controller's module."
  type        = object({ arn = string, name = string })
}

variable "worker_settings" {
  description = "More lines of the table [worker] of the config file."
  type        = string
  default     = ""
}

variable "admins" {
  description = "ARNs of roles or users that administer the cluster. Nobody else may, the creator of the cluster included."
  type        = list(string)
}

variable "public_access_cidrs" {
  description = "Networks from which the API server is reached over the internet. Empty: from the VPC only."
  type        = list(string)
  default     = []
}

variable "coredns" {
  description = "Whether EKS' add-on for DNS is installed. Its pods run in cells, as all others do."
  type        = bool
  default     = true
}

variable "tags" {
  description = "More tags for everything here."
  type        = map(string)
  default     = {}
}
