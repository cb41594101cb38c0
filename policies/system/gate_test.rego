package system.gate_test

import data.portico.asked_test as asked
import data.system.gate

release := {"revision": "abc"}

test_without_a_release_nothing_is_ready if {
	every question in gate.questions {
		not "ready" in object.keys(gate.answers[question])
	}
}

test_an_unknown_question_has_no_answer if {
	not gate.answers.everything with data.system.release as release
}

test_every_question_is_answered_with_its_revision if {
	every question in gate.questions {
		answer := gate.answers[question] with data.system.release as release with input as {}
		answer == {"ready": true, "revision": "abc", "decision": asked.nothing}
	}
}

test_health_is_asked_without_a_question if {
	gate.answers.policy == {"ready": true, "revision": "abc"} with data.system.release as release
}
