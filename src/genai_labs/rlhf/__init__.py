"""Lab 3: PPO on a policy that repeats insults, rewards from people's choices, and what is measured on both."""
