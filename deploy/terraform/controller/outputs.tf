output "settings" {
  description = "The controller's config file."
  value       = local.settings
}

output "queue_url" {
  description = "Queue of notices."
  value       = aws_sqs_queue.notices.url
}

output "role" {
  description = "The controller's role: its ARN, and its name for more policies."
  value       = { arn = aws_iam_role.controller.arn, name = aws_iam_role.controller.name }
}

output "cell_profile" {
  description = "Instance profile that pods may name."
  value       = one(aws_iam_instance_profile.cell[*].name)
}

output "address" {
  description = "Where cells dial."
  value       = local.address
}

output "user_data" {
  description = "What the controller's machine runs at its first boot."
  value       = local.user_data
}
