"""Networks, one paper a file. `gan_dist.registry.lookup` names them; nothing is registered here."""
