"""The policy of a search: the samplers that suggest configurations, and the rules that stop trials early."""
