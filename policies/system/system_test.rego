package system_test

import data.system

test_rules_without_a_revision_are_not_ready if {
	not system.ready
	not system.ready with data.system.release as {"revision": ""}
}

test_rules_without_their_data_are_not_ready if {
	not system.ready with data.system.release as {"revision": "abc"} with data.portico.roles as {}
}

test_a_whole_bundle_is_ready if {
	system.ready with data.system.release as {"revision": "abc"}
}
