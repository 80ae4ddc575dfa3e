# A way out for cells without public addresses: a NAT gateway, or endpoints where nothing else is to be reached.

resource "aws_eip" "nat" {
  count  = var.nat ? 1 : 0
  domain = "vpc"
  tags   = local.tags
}

resource "aws_nat_gateway" "out" {
  count         = var.nat ? 1 : 0
  allocation_id = aws_eip.nat[0].id
  subnet_id     = local.controller_subnet
  tags          = local.tags

  lifecycle {
    precondition {
      condition     = alltrue([for each in data.aws_route_tables.cells : length(each.ids) > 0])
      error_message = "A subnet of subnet_ids has no route table of its own: the way out would become that of the whole VPC. Give cells private subnets with a table of their own (docs/aws.md)."
    }
  }
}

# Subnets without a table of their own go by the VPC's main one.
data "aws_route_tables" "cells" {
  for_each = var.nat || var.endpoints ? toset(var.subnet_ids) : toset([])
  vpc_id   = var.vpc_id

  filter {
    name   = "association.subnet-id"
    values = [each.value]
  }
}

data "aws_route_table" "main" {
  count  = var.nat || var.endpoints ? 1 : 0
  vpc_id = var.vpc_id

  filter {
    name   = "association.main"
    values = ["true"]
  }
}

locals {
  tables    = toset([for each in data.aws_route_tables.cells : try(each.ids[0], data.aws_route_table.main[0].id)])
  services  = var.endpoints ? toset(["ec2", "ecr.api", "ecr.dkr", "sqs", "sts"]) : toset([])
  dns_first = local.partition == "aws-cn" ? "cn.com.amazonaws" : "com.amazonaws"
}

resource "aws_route" "out" {
  for_each               = var.nat ? local.tables : toset([])
  route_table_id         = each.value
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.out[0].id
}

resource "aws_security_group" "endpoints" {
  count       = var.endpoints ? 1 : 0
  name        = "${local.name}-endpoints"
  description = "Endpoints of AWS services for the Chinampa cluster ${var.cluster}"
  vpc_id      = var.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  for_each          = var.endpoints ? data.aws_subnet.cells : {}
  security_group_id = aws_security_group.endpoints[0].id
  cidr_ipv4         = each.value.cidr_block
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = local.tags
}

resource "aws_vpc_endpoint" "services" {
  for_each            = local.services
  vpc_id              = var.vpc_id
  service_name        = "${local.dns_first}.${local.region}.${each.value}"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = var.subnet_ids
  security_group_ids  = [aws_security_group.endpoints[0].id]
  private_dns_enabled = true
  tags                = local.tags
}

# Layers of images in ECR are in S3.
resource "aws_vpc_endpoint" "layers" {
  count             = var.endpoints ? 1 : 0
  vpc_id            = var.vpc_id
  service_name      = "com.amazonaws.${local.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = local.tables
  tags              = local.tags
}
