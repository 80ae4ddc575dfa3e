variable "cluster" {
  description = "Name of the cluster: the value of the tag on all that the controller makes, and part of all names here."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9-]{1,40}$", var.cluster))
    error_message = "Lower-case letters, digits and dashes, 40 at most."
  }
}

variable "vpc_id" {
  description = "VPC in which cells and the controller are."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of cells. With `nat = true` their route tables are to be free of a default route."
  type        = list(string)
}

variable "controller_subnet_id" {
  description = "Subnet of the controller; a public one where `nat = true`. Empty: the first of `subnet_ids`."
  type        = string
  default     = ""
}

variable "controller_host" {
  description = "Number of the controller's address within its subnet; nobody else may have it."
  type        = number
  default     = 10
}

variable "controller_image" {
  description = "AMI of the controller's machine: Debian 12 or 13, or Ubuntu 24.04, with cloud-init. Empty: no machine is made."
  type        = string
  default     = ""
}

variable "controller_type" {
  description = "Instance type of the controller's machine."
  type        = string
  default     = "t3.small"
}

variable "controller_install" {
  description = "Shell lines, run once as root on the controller's machine, that leave the command `chinampa` in /usr/local/bin."
  type        = string
  default     = ""
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

variable "cell_role_name" {
  description = "Name of the role that pods may be given (`chinampa.dev/instance-profile`). Empty: one without rights is made."
  type        = string
  default     = ""
}

variable "cluster_security_group" {
  description = "Group of a Kubernetes cluster whose members reach pods. Empty: none."
  type        = string
  default     = ""
}

variable "nat" {
  description = "Whether a NAT gateway is made in the controller's subnet, by which cells reach registries. It costs by the hour."
  type        = bool
  default     = false
}

variable "endpoints" {
  description = "Whether endpoints for ECR, STS, EC2, SQS (by the hour) and S3 (free) are made, for VPCs without a way out."
  type        = bool
  default     = false
}

variable "settings" {
  description = "More lines of the controller's config file, such as `[[standby]]` tables."
  type        = string
  default     = ""
}

variable "tags" {
  description = "More tags for everything here."
  type        = map(string)
  default     = {}
}
