"""A deterministic simulator: the real steps over a simulated clock, network, queue and signer, judged from outside."""
