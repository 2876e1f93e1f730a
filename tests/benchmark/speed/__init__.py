"""How fast everything is: ``make bench-speed``. Each module here measures one part.

A part has ``measure()``, which returns ``title``, ``rows`` (what was measured, with numbers and
their units in the names), ``goals`` (see ``timing.goal``) and, where need be, ``notes``.
"""
