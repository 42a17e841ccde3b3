"""Mutation testing of the rules in the core: every small change of them makes a unit test fail, or is explained.

mutmut's operators make the changes; its runner is not used, because it changes only what stands in undecorated
functions: much of what is dangerous in the core stands in literal tables, constants, codes and properties.
"""
