# A cluster on EKS whose one worker is a controller of cells: the kubelet's pods are instances. The control plane knows
# the admins that are named and the worker's role, and nobody anonymous. The worker's machine is of the module
# ../controller, which gets from here what it is to be beside that, and from which this module knows its role.

data "aws_partition" "here" {}

locals {
  tags = merge(var.tags, { "chinampa.dev/made-by" = "terraform" })
  arn  = "arn:${data.aws_partition.here.partition}"
}

data "aws_iam_policy_document" "eks_assumes" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]
    principals {
      type        = "Service"
      identifiers = ["eks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "cluster" {
  name               = "chinampa-${var.cluster}-eks"
  assume_role_policy = data.aws_iam_policy_document.eks_assumes.json
  tags               = local.tags
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "${local.arn}:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_eks_cluster" "here" {
  name     = var.cluster
  version  = var.kubernetes_version
  role_arn = aws_iam_role.cluster.arn
  tags     = local.tags

  # The VPC CNI and kube-proxy are for nodes whose pods are on them: a cell needs neither.
  bootstrap_self_managed_addons = false

  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = false
  }

  vpc_config {
    subnet_ids              = var.subnet_ids
    endpoint_private_access = true
    endpoint_public_access  = length(var.public_access_cidrs) > 0
    public_access_cidrs     = length(var.public_access_cidrs) > 0 ? var.public_access_cidrs : null
  }

  depends_on = [aws_iam_role_policy_attachment.cluster]
}

# Who may ask the API server.

resource "aws_eks_access_entry" "admins" {
  for_each      = toset(var.admins)
  cluster_name  = aws_eks_cluster.here.name
  principal_arn = each.value
  tags          = local.tags
}

resource "aws_eks_access_policy_association" "admins" {
  for_each      = toset(var.admins)
  cluster_name  = aws_eks_cluster.here.name
  principal_arn = aws_eks_access_entry.admins[each.value].principal_arn
  policy_arn    = "${local.arn}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
  access_scope {
    type = "cluster"
  }
}

# The worker is the node that its private DNS name says, with a node's rights.
resource "aws_eks_access_entry" "worker" {
  cluster_name  = aws_eks_cluster.here.name
  principal_arn = var.worker_role.arn
  type          = "EC2_LINUX"
  tags          = local.tags
}

resource "aws_eks_addon" "coredns" {
  count        = var.coredns ? 1 : 0
  cluster_name = aws_eks_cluster.here.name
  addon_name   = "coredns"
  # Its pods wait for the worker, and for an admin's `kubectl apply` of the node's rights.
  resolve_conflicts_on_create = "OVERWRITE"
  tags                        = local.tags
}
