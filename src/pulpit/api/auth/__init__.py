"""Authentication: logins, certificates, and throttling of failed logins."""
