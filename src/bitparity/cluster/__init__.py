"""Many devices: one study on the GPUs of a host or of a cluster, through Ray.

`scheduling` decides which device does what next, `pieces` holds what is to be asked, `driver` is the loop that
brings both together and records the answers, `pool` is what the driver knows of devices, and `ray_pool` those of a
Ray cluster. Only `ray_pool` and `ray_testers` import Ray.
"""
