# METADATA
# title: Is the whole bundle here?
# description: |
#   `ready` is there only when a bundle that Portico built is loaded: the build writes its revision and the
#   shipped data beside the rules. Missing means that policy is unavailable, and work waits.
package system

# METADATA
# description: True when rules, data and the revision they belong to are all loaded.
ready if {
	data.system.release.revision != ""
	count(data.portico.roles.known) > 0
}
