# What AWS announces of instances, in a queue of the controller's own. The rules are those of docs/ec2.md.

resource "aws_sqs_queue" "notices" {
  name                      = local.name
  message_retention_seconds = 300
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

locals {
  rules = {
    spot = { source = ["aws.ec2"], detail-type = ["EC2 Spot Instance Interruption Warning"] }
    reservation = { source = ["aws.ec2"], detail-type = [
      "EC2 Capacity Reservation Instance Interruption Warning",
      "EC2 Interruptible Capacity Reservation Instance Interruption Warning",
    ] }
    rebalance = { source = ["aws.ec2"], detail-type = ["EC2 Instance Rebalance Recommendation"] }
    state     = { source = ["aws.ec2"], detail-type = ["EC2 Instance State-change Notification"] }
    health    = { source = ["aws.health"], detail-type = ["AWS Health Event"] }
    doctor    = { source = ["chinampa.doctor"], detail-type = ["Chinampa Doctor"] }
  }
}

resource "aws_cloudwatch_event_rule" "notices" {
  for_each      = local.rules
  name          = "${local.name}-${each.key}"
  event_pattern = jsonencode(each.value)
  tags          = local.tags
}

resource "aws_cloudwatch_event_target" "notices" {
  for_each  = aws_cloudwatch_event_rule.notices
  rule      = each.value.name
  target_id = "queue"
  arn       = aws_sqs_queue.notices.arn
}

data "aws_iam_policy_document" "queue" {
  statement {
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.notices.arn]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:events:${local.region}:${local.account}:rule/${local.name}-*"]
    }
  }
}

resource "aws_sqs_queue_policy" "notices" {
  queue_url = aws_sqs_queue.notices.id
  policy    = data.aws_iam_policy_document.queue.json
}
