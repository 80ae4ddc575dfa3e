variable "cluster" {
  description = "Name of the cluster, for EKS and for the controller alike."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9-]{1,40}$", var.cluster))
    error_message = "Lower-case letters, digits and dashes, 40 at most."
  }
}

variable "kubernetes_version" {
  description = "Version of the control plane; that of the kubelet that `worker_install` leaves is the same or older."
  type        = string
  default     = "1.33"
}

variable "vpc_id" {
  description = "VPC of the cluster, the worker and the cells."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of cells and of the control plane's interfaces, in two zones at least."
  type        = list(string)
}

variable "worker_subnet_id" {
  description = "Subnet of the worker, as `controller_subnet_id` of the controller's module."
  type        = string
  default     = ""
}

variable "worker_image" {
  description = "AMI of the worker: Debian 12 or 13, or Ubuntu 24.04, with cloud-init. Empty: no machine is made."
  type        = string
  default     = ""
}

variable "worker_type" {
  description = "Instance type of the worker: it runs the kubelet and the controller, not the pods."
  type        = string
  default     = "t3.medium"
}

variable "worker_install" {
  description = "Shell lines, run once as root, that leave `chinampa` in /usr/local/bin, and `kubelet` and `aws-iam-authenticator` beside it."
  type        = string
  default     = ""
}

variable "worker_settings" {
  description = "More lines of the table [worker] of the config file."
  type        = string
  default     = ""
}

variable "settings" {
  description = "More tables of the config file, such as `[[standby]]`."
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

variable "cell_image_amd64" {
  description = "Image of cells for x86; as `chinampa image publish` made it."
  type        = string
  default     = ""
}

variable "cell_image_arm64" {
  description = "Image of cells for arm."
  type        = string
  default     = ""
}

variable "certificates" {
  description = "AWS's RSA certificate of the region, PEM, against which identity documents of cells are checked."
  type        = string
  default     = ""
}

variable "coredns" {
  description = "Whether EKS' add-on for DNS is installed. Its pods run in cells, as all others do."
  type        = bool
  default     = true
}

variable "nat" {
  description = "Whether a NAT gateway is made, as in the controller's module."
  type        = bool
  default     = false
}

variable "tags" {
  description = "More tags for everything here."
  type        = map(string)
  default     = {}
}
