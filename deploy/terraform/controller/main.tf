# What a controller on EC2 needs: rights, groups, the queue of notices, a way out for cells, a machine of its own.

data "aws_partition" "here" {}
data "aws_region" "here" {}
data "aws_caller_identity" "here" {}
data "aws_subnet" "cells" {
  for_each = toset(var.subnet_ids)
  id       = each.value
}

locals {
  name              = "chinampa-${var.cluster}"
  partition         = data.aws_partition.here.partition
  region            = data.aws_region.here.name
  account           = data.aws_caller_identity.here.account_id
  controller_subnet = coalesce(var.controller_subnet_id, var.subnet_ids[0])
  tags              = merge(var.tags, { "Name" = local.name, "chinampa.dev/made-by" = "terraform" })
  port              = 7443

  # The words in capitals of deploy/iam, each in its place.
  words = {
    PARTITION = local.partition
    REGION    = local.region
    ACCOUNT   = local.account
    CLUSTER   = var.cluster
    VPC       = var.vpc_id
    QUEUE     = local.name
    CELL_ROLE = local.cell_role
  }
  cell_role = var.cell_role_name != "" ? var.cell_role_name : "${local.name}-cell"
  template  = file("${path.module}/../../iam/controller.json")
  # "/CELL_ROLE", not "CELL_ROLE": each word is bounded by what stands around it in the policy.
  policy = replace(replace(replace(replace(replace(replace(replace(
    local.template,
    "arn:PARTITION:", "arn:${local.words.PARTITION}:"),
    ":REGION:", ":${local.words.REGION}:"),
    ":ACCOUNT:", ":${local.words.ACCOUNT}:"),
    "\"CLUSTER\"", "\"${local.words.CLUSTER}\""),
    "vpc/VPC", "vpc/${local.words.VPC}"),
    ":QUEUE\"", ":${local.words.QUEUE}\""),
  "role/CELL_ROLE", "role/${local.words.CELL_ROLE}")
}

# Rights

data "aws_iam_policy_document" "ec2_assumes" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = [local.partition == "aws-cn" ? "ec2.amazonaws.com.cn" : "ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "controller" {
  name               = "${local.name}-controller"
  assume_role_policy = data.aws_iam_policy_document.ec2_assumes.json
  tags               = local.tags
}

resource "aws_iam_policy" "controller" {
  name   = "${local.name}-controller"
  policy = local.policy
  tags   = local.tags
}

resource "aws_iam_role_policy_attachment" "controller" {
  role       = aws_iam_role.controller.name
  policy_arn = aws_iam_policy.controller.arn
}

resource "aws_iam_instance_profile" "controller" {
  name = "${local.name}-controller"
  role = aws_iam_role.controller.name
  tags = local.tags
}

# Cells need no rights. Pods that name this profile get what you attach to its role.
resource "aws_iam_role" "cell" {
  count              = var.cell_role_name == "" ? 1 : 0
  name               = "${local.name}-cell"
  assume_role_policy = data.aws_iam_policy_document.ec2_assumes.json
  tags               = local.tags
}

resource "aws_iam_instance_profile" "cell" {
  count = var.cell_role_name == "" ? 1 : 0
  name  = "${local.name}-cell"
  role  = aws_iam_role.cell[0].name
  tags  = local.tags
}

# Groups. The cells' own is the controller's to make, and bears its tag; nothing ever dials a cell for the controller.

resource "aws_security_group" "controller" {
  name        = "${local.name}-controller"
  description = "Controller of the Chinampa cluster ${var.cluster}"
  vpc_id      = var.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "cells" {
  for_each          = data.aws_subnet.cells
  security_group_id = aws_security_group.controller.id
  description       = "Cells dial home"
  cidr_ipv4         = each.value.cidr_block
  ip_protocol       = "tcp"
  from_port         = local.port
  to_port           = local.port
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "out" {
  security_group_id = aws_security_group.controller.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
  tags              = local.tags
}
