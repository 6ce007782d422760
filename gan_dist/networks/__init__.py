"""Networks, one paper a file. `gan_dist.components` names them; nothing is registered here."""
