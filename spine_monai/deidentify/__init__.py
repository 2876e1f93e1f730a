"""Research export: MR series and their landmarks without what names the patient.

An allow-list says which attributes may stay and in which form (``profile``); everything else goes.
What links back, the key, stays in its file (``key``).
"""
